"""Evaluation of trained networks: on the targets of a run, of several checkpoints, and comparisons over seeds."""
