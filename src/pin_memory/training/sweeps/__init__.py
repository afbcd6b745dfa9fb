"""Sweeps: one job of several, the table of all, and `read_sweep("runs/demo/sweeps/loss_weights")["best"]`."""

from pin_memory.training.sweeps.results import read_sweep
from pin_memory.training.sweeps.summary import SweepSummary

__all__ = ["SweepSummary", "read_sweep"]
