"""Comparison of an exported file with the network it was made of."""
