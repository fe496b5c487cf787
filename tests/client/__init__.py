"""Our annotations in the programs that they are made for."""
