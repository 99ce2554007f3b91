"""Fallbacks: calls that are answered although the broker is down."""
