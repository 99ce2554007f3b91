"""Properties of keys, which hold for all values that Hypothesis comes up with."""
