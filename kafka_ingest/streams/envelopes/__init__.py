"""Envelopes: what stands around the row in a message, and what the message says became of it."""
