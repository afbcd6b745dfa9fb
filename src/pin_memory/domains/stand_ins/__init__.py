"""stand_ins."""
