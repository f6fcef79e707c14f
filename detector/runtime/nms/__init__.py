"""Non-maximum suppression in numpy."""
