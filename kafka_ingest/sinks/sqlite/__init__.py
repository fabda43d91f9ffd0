"""SQLite, for trying things out."""
