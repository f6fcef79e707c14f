"""Conversion of data sets: read, written in another format, read again and compared."""
