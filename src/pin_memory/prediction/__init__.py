"""Segmentation of images and videos with a trained network."""
