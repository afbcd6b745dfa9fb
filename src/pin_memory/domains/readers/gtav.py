"""GTAV ("Playing for Data", Richter et al., ECCV 2016): 24,966 rendered frames with Cityscapes label ids."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from pin_memory.domains.readers.base import Domain, Transform
from pin_memory.domains.readers.flat_layout import FlatLayout
from pin_memory.domains.readers.layouts import SPLITS, Found, Layout, recognise
from pin_memory.domains.readers.listing import Sample
from pin_memory.domains.readers.splits import SplitFile, listed
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import TRAIN_ID_TABLE, TRAIN_ID_VALUES, label_table

# Cityscapes label ids 0..33; 34, the licence plate, is not listed.
_TRAIN_IDS = [255] * 7 + [0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 255, 255, 16, 17, 18]

FAULTY = frozenset({15188, 17705, *range(20801, 20861)})
"""Frames that cannot be used: a white one, a black one, and 60 whose label has another size."""

SINGLE_COLOUR = frozenset({12160, 12166, 12167, 12191, 12192, 12193, 12195, *range(12202, 12209), 19993})
"""Training frames of a single colour, which the RobustNet lists leave out."""

_FOLDERS = {"train": "train", "val": "valid", "test": "test"}
_TREES: dict[str, tuple[type[Layout], str, str]] = {
    "split folders": (Layout, "images/{split}", "labels/{split}"),
    "labels/labels": (FlatLayout, "images", "labels/labels"),
    "as published": (FlatLayout, "images", "labels"),
}
_LABELS: dict[str, tuple[str, str, np.ndarray | None]] = {
    "": (r"(\d{5})\.png", "ids", None),
    ", labelTrainIds": (r"(\d{5})_labelTrainIds\.png", "train ids", TRAIN_ID_TABLE),
}


class GTAV(Domain):
    """GTAV: palette PNGs whose index is the Cityscapes label id.

    The split is that of `split_file`; else of the published split.mat, where it lies in the root or in its read_mapping folder; else of the
    folders train, valid and test; else the last fifth of the frames by name is validated and tested on. `FAULTY` frames are left out.
    """

    title: ClassVar[str] = "GTAV (Playing for Data)"
    tree = """
images/00001.png ... 24966.png
labels/00001.png ... 24966.png    (palette PNGs as published)
read_mapping/split.mat            (optional: the published split)
"""
    download: ClassVar[str] = "the 10 image and 10 label archives of the project page download.visinf.tu-darmstadt.de/data/from_games"
    table = label_table(_TRAIN_IDS)
    layouts: tuple[Layout, ...] = tuple(
        kind(tree + converted, images, labels, r"(\d{5})\.png", label, _FOLDERS, encoding, table)
        for converted, (label, encoding, table) in _LABELS.items()
        for tree, (kind, images, labels) in _TREES.items()
    )
    known_single_colour = frozenset(f"{number:05}" for number in (*SINGLE_COLOUR, 15617))
    official_counts: Mapping[str, int] = {"train": 12403, "val": 6382}

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        split_file: SplitFile | None = None,
        train_on: Literal["split", "all"] = "split",
        drop_single_colour: bool = False,
        **options: Any,
    ) -> None:
        """List the samples of a split.

        Args:
            root: As in `Domain`.
            split: As in `Domain`.
            transform: As in `Domain`.
            split_file: As in `Domain`; without it, the published split.mat is used where it is found.
            train_on: "all" trains on the frames of every split, as the papers with ResNet-101 and with transformers do.
            drop_single_colour: Leave out the frames of `SINGLE_COLOUR`, too.
            options: As in `Domain`.

        Raises:
            DataError: As in `Domain`.
            ConfigurationError: As in `Domain`, or `train_on` is something else.
        """
        if not isinstance(drop_single_colour, bool):
            raise ConfigurationError(f"GTAV: drop_single_colour={drop_single_colour!r}: expected true or false.")
        if train_on not in ("split", "all"):
            raise ConfigurationError(f"GTAV: train_on={train_on!r} is none of 'split' and 'all'.")
        self.takes_all = train_on == "all" and split == "train"
        self.dropped = FAULTY | SINGLE_COLOUR if drop_single_colour else FAULTY
        self.published_split = None if split_file is not None else _split_mat(Path(root).expanduser())
        super().__init__(root, split, transform, split_file=split_file or self.published_split, **options)
        self.official_counts = self._complete_counts()

    @property
    def raw_ids(self) -> Collection[int]:
        """The values that a label file may hold."""
        return TRAIN_ID_VALUES if self.layout.encoding == "train ids" else range(len(_TRAIN_IDS) + 1)

    def find(self) -> Found:
        """Recognise the layout; training on all takes the frames of all folders."""
        found = recognise(self.root, self.layouts, self.inner_roots, SPLITS) if self.takes_all else []
        return found[0] if found and found[0].images else super().find()

    def sample_name(self, key: str) -> str:
        """The number of the frame, unique over the folders."""
        return key.rsplit("/", 1)[-1]

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """All frames or those of the split, without the faulty ones."""
        if self.takes_all:
            self.note("training takes the frames of all splits: validation on GTAV sees frames that were trained on")
            return self.drop_faults(pairs)
        if self.split_file is None:
            return super().select(pairs)
        if self.published_split is not None:
            self.note(f"split by {self.published_split}")
        # The published lists name faulty frames, too: these need not be there.
        forgiven = {f"{number:05}" for number in FAULTY | SINGLE_COLOUR}
        return self.drop_faults(listed(pairs, self.split_file, self.folder_split, self.title, forgiven))

    def drop_faults(self, pairs: list[Sample]) -> list[Sample]:
        """Leave out the faulty frames by their numbers."""
        kept = [sample for sample in pairs if int(sample.name) not in self.dropped]
        if len(kept) < len(pairs):
            rule = "by number: 15188 (white), 17705 (black), 20801-20860 (label of another size)"
            rule += " and the 15 of a single colour" if self.dropped > FAULTY else ""
            self.note(f"{len(pairs) - len(kept)} faulty frames are left out {rule}")
        return kept

    def _complete_counts(self) -> dict[str, int]:
        """Frames of each split in a complete copy, without those left out by rule; none where a list of one's own decides."""
        single = len(self.dropped - FAULTY)
        if self.takes_all:
            return {"train": 24966 - len(self.dropped)}
        if self.published_split is not None:
            return {"train": 12403 - 1 - single, "val": 6382 - 35}
        if self.split_file is not None:
            return {}
        if self.layout.by_folder:  # RobustNet's, which lack the frames of a single colour
            return {"train": 12403 - 1 - len(SINGLE_COLOUR), "val": 6382 - 35}
        held_out = (24966 - len(self.dropped)) // 5
        return {"train": 24966 - len(self.dropped) - held_out, "val": held_out}


def _split_mat(root: Path) -> Path | None:
    """The published split below `root`, if it is there."""
    return next(
        (path for path in (root / place / "split.mat" for place in ("", "read_mapping", "code/read_mapping")) if path.is_file()), None
    )
