"""The annotation: its format, the data set, validation, explanation and safe reading of pickles."""
