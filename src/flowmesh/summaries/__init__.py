"""Summaries: nodes that describe a step, and the event files that TensorBoard reads."""
