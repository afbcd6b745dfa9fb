"""Trees with all files of a kind in one folder."""

import os
import re
from pathlib import Path

from pin_memory.domains.readers.layouts import Found, Layout


class FlatLayout(Layout):
    """A tree with one folder of images and one of labels, for all splits.

    Only files that lie in these folders themselves count. Another tree's split folders in the same place are therefore not taken for it,
    and a training folder without its validation folder cannot be split once more without notice.
    """

    def find(self, root: Path, splits: tuple[str, ...]) -> Found | None:
        """Look for the files.

        Args:
            root: The folder of the data set.
            splits: Not used: the splits share the folders.

        Returns:
            The files; None when a folder is missing, or holds nothing but folders.
        """
        folders = root / self.images, root / self.labels
        if not all(folder.is_dir() for folder in folders):
            return None
        images, labels = _files(folders[0], self.image), _files(folders[1], self.label)
        if not images and any(entry.is_dir() for entry in folders[0].iterdir()):
            return None
        return Found(self, root, images, labels)


def _files(folder: Path, name: str) -> dict[str, Path]:
    """The files of a folder by their key, the first group of the pattern."""
    pattern = re.compile(name, re.IGNORECASE)
    with os.scandir(folder) as entries:
        return {match[1]: folder / entry.name for entry in entries if (match := pattern.fullmatch(entry.name))}
