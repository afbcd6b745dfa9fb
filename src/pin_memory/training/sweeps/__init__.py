"""Sweeps: one job of several, and the table of all."""

from pin_memory.training.sweeps.summary import SweepSummary

__all__ = ["SweepSummary"]
