"""Comparison of an exported file with its network, and the certificate of the result."""
