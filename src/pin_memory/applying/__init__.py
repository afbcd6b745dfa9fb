"""Applying a trained network to pictures and videos: what `predict` is made of."""
