"""Which clips there are: discovery, labels, splits, the list of inputs, the log of failures."""
