"""Tests that take minutes or hours: `pytest -m reliability`."""
