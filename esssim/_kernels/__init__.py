"""Compiled loops (numba); each has a slow, readable twin in the tests."""
