"""What runs an exported file, without torch."""
