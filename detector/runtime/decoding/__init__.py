"""Decoding of heads' raw outputs into boxes and scores, in numpy."""
