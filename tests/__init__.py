"""Tests of Flowmesh."""
