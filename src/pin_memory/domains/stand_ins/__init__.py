"""Drawn street scenes in the layouts of real data sets, so that everything runs on a fresh machine."""

from pin_memory.domains.stand_ins.writers import StandIns

__all__ = ["StandIns"]
