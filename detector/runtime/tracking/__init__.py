"""Tracks: ids of objects in videos, their trails, and counts over lines and in zones."""
