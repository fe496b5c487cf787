"""Where clips run: in this process, in worker processes or on a work pool, and what became of each."""
