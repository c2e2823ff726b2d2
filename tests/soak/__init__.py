"""Long training under random kills of its workers, with every record accounted for: `python -m tests.soak --minutes 30`."""
