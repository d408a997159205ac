"""Measurements behind `make bench`: they say what a change cost, and no test asserts them."""
