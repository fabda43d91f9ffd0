"""Sample messages and their producer."""
