"""The ledger in the target database: positions, loaded ranges and dead letters."""
