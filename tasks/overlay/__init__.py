"""The overlay video: painting people, labels and panels on frames."""
