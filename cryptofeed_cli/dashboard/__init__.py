"""Screens for people: the live view, reports, the status; computes nothing but rates."""
