"""Benchmarks, run from the checkout: `make bench`."""
