"""Feeds of frames: live sockets, tapes, simulated markets."""
