"""Measurements of what the package costs, as ratios within one run: ``tox -e benchmarks``."""
