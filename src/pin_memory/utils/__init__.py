"""Helpers that know nothing of segmentation methods: errors, files, labels, pictures, tables, several processes."""

from pin_memory.utils.files import LogFile

__all__ = ["LogFile"]
