"""Measurements of this machine: what is compared runs in turns, one file a subject."""
