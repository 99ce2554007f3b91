"""Answering calls while the broker is down."""
