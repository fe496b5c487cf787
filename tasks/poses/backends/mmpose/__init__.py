"""RTMO as mmpose config and checkpoint, run in torch: what needs mmpose, and what tells its files without it."""
