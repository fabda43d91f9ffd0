"""Examples of building on the tables. They are registered as a user's own assets are, by `Definitions.merge`."""
