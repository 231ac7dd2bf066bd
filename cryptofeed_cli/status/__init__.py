"""How the recording stands, read off the store: recorders, what is stored, what was missed; prints nothing."""
