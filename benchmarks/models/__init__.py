"""The networks of the benchmarks: their layers once, and the layers' making in each framework."""
