"""What things cost: each `bench_*.py` prints JSON. Not tests: nothing is asserted, numbers are for comparing runs on one machine."""
