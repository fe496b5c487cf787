"""The five regions of a frame. Imports nothing: settings and the command line need the names before numpy."""

REGIONS = ("top_left", "top_right", "bottom_left", "bottom_right", "center_overlap")
"""The five regions of a frame: its quadrants, and the middle half of its width and height over them."""
