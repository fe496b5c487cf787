"""Which rule puts the fighters first: on labelled clips and on synthetic scenes."""
