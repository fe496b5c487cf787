"""From a merged data set to a training run: configs for mmaction2 and pyskl, and the data card that goes with it."""
