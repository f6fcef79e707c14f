"""Pages of results: one HTML file with its pictures inside, which opens without a network."""
