"""Resumption of a run in its own folder, to the same bits as a run that was never interrupted."""
