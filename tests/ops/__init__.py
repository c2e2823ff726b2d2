"""Tests of the ops: a table of rows, and modules for what a row cannot say."""
