"""``redis://`` and its variants."""
