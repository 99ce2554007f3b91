"""Sharing: identical calls have one run, and its result answers later ones."""
