"""Cameras and streams that are kept alive: connections, lost ones, frames in bounded memory."""
