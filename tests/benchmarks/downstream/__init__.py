"""Whether the rank order helps the recogniser that it is made for."""
