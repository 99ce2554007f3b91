"""What things cost, as ratios within one run: ``tox -e benchmarks``."""
