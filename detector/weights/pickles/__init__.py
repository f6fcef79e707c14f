"""A closed reader of pickles that runs no code."""
