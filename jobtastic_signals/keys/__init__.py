"""Keys: one text for all identical calls."""
