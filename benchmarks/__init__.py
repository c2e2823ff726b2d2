"""Benchmarks: the same TensorFlow 1 programs on Flowmesh and on its peers, side by side, as ratios."""
