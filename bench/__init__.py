"""Figures of speed and size, each a ratio against a peer or a bare driver in the same run. Run ``python -m bench``."""
