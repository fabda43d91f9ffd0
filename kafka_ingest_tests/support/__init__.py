"""What the tests of the core share: models, raw slices, a database to look into, a fake cluster."""
