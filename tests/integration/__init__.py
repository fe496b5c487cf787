"""Real servers, workers and databases on this machine; minutes each, marked `integration`."""
