"""Keys: one text for all calls that are the same."""
