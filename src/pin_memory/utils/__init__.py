"""Helpers that know nothing of segmentation methods: errors, files, labels, pictures, tables, several processes."""
