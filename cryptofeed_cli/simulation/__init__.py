"""A made-up market: several symbols on one timeline, decided by integers alone, so the same everywhere.

Pure: no I/O, clock, thread or sleep; knows no exchange. What it consists of: `docs/simulator.md`.
"""
