"""Benchmarks of this machine, one file per subject; alternatives are measured in turns."""
