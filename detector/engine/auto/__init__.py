"""The preset ``auto``: settings chosen for data, network and machine, each with its reason."""
