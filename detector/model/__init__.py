"""Model files and the networks that are built from them."""
