"""A model file and the network that is built from it."""
