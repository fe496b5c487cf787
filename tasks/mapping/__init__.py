"""Inputs to outputs: receipts, the mapping check, quarantine and the lock of an output folder."""
