"""Checks of a data set before it is trained on, one kind of finding a file."""
