"""Tables of measurements: how each is made, and the file that keeps it."""
