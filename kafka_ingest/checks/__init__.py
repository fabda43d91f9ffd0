"""Proofs over what was loaded: ledger, consumer group, dead letters, tables; and where a row came from."""
