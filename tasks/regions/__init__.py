"""The five regions: scores per track, and the weights that are learned per clip and per camera."""
