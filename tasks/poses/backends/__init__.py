"""The pose models and the runtimes that run them."""
