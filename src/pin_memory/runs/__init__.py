"""One run: built from its configuration, with its folder, checkpoints, results and provenance."""
