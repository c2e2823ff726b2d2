"""Tests of masters, workers, servers and what travels between them."""
