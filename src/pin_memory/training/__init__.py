"""A training run: checks of the settings, the run itself, its dry run, resumption and sweeps."""
