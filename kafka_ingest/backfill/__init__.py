"""Loading a stretch of a topic again: which offsets, what it would change, how far it is."""
