"""GTAV ("Playing for Data", Richter et al., ECCV 2016): 24,966 rendered frames with Cityscapes label ids."""

from pathlib import Path
from typing import Any, Literal

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import LABEL_IDS, LABEL_NAMES
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.layouts import TRAIN_IDS, Layout, Sample
from pin_memory.domains.readers.splits import SplitFile
from pin_memory.utils.errors import ConfigurationError

INVALID_FRAMES = frozenset({15188, 17705, *range(20801, 20861)})
"""Frames that cannot be used: a white one, a black one, and 60 whose label has another size."""

SINGLE_COLOUR = frozenset({12160, 12166, 12167, 12191, 12192, 12193, 12195, *range(12202, 12209), 19993})
"""Training frames of a single colour, which the RobustNet lists leave out."""

_FRAMES, _TRAIN, _VAL, _INVALID_VAL = 24966, 12403, 6382, 35  # all; of the published split, which has 1 and 35 invalid ones
_FOLDERS = {"train": "train", "val": "valid", "test": "test"}
_TREES = {
    "split folders": ("images/{split}", "labels/{split}", True),
    "labels/labels": ("images", "labels/labels", False),
    "as published": ("images", "labels", False),
}
_LABELS: dict[str, tuple[str, dict[str, Any]]] = {
    "": (r"(\d{5})\.png", {"raw_ids": range(35), "class_names": LABEL_NAMES}),  # 34 is the licence plate, which is ignored
    ", labelTrainIds": (r"(\d{5})_labelTrainIds\.png", {"encoding": "train ids", **TRAIN_IDS}),
}


class GTAV(Domain):
    """GTAV: palette PNGs whose index is the Cityscapes label id.

    The split is that of `split_file`; else of the published split.mat, where it lies in the root or in its read_mapping folder; else of the
    folders train, valid and test; else the last fifth of the frames by name is validated and tested on. `INVALID_FRAMES` are left out.

    Args:
        split_file: As in `Domain`; without it, the published split.mat is used where it is found.
        train_on: "all" trains on the frames of every split, as the papers with ResNet-101 and with transformers do.
        drop_single_colour: Leave out the frames of `SINGLE_COLOUR`, too. The other arguments are those of `Domain`.

    Raises:
        DataError: As `Domain`.
        ConfigurationError: As `Domain`; also when an option has another value.
    """

    title = "GTAV (Playing for Data)"
    tree = """
images/00001.png ... 24966.png
labels/00001.png ... 24966.png    (palette PNGs as published)
read_mapping/split.mat            (optional: the published split)
"""
    download = "the 10 image and 10 label archives of the project page download.visinf.tu-darmstadt.de/data/from_games"
    table = LABEL_IDS
    layouts = tuple(
        Layout(tree + kind, images, labels, r"(\d{5})\.png", label, _FOLDERS, recursive=recursive, **fields)
        for kind, (label, fields) in _LABELS.items()
        for tree, (images, labels, recursive) in _TREES.items()
    )
    # The published lists name these, whether they are there or not.
    ignore_missing = frozenset(f"{number:05}" for number in INVALID_FRAMES | SINGLE_COLOUR)
    known_single_colour = frozenset(f"{number:05}" for number in (*SINGLE_COLOUR, 15617))
    official_counts = {"train": _TRAIN, "val": _VAL}
    unique_file_names = True

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
        if not isinstance(drop_single_colour, bool):
            raise ConfigurationError(f"GTAV: drop_single_colour={drop_single_colour!r}: expected true or false.")
        if train_on not in ("split", "all"):
            raise ConfigurationError(f"GTAV: train_on={train_on!r} is none of 'split' and 'all'.")
        self.reads_all_splits = train_on == "all" and split == "train"
        self.dropped = INVALID_FRAMES | SINGLE_COLOUR if drop_single_colour else INVALID_FRAMES
        places = [Path(root).expanduser() / folder / "split.mat" for folder in ("", "read_mapping", "code/read_mapping")]
        self.published_split = next((path for path in places if split_file is None and path.is_file()), None)
        super().__init__(root, split, transform, split_file=split_file or self.published_split, **options)
        self.official_counts = self._complete_counts()

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """All frames or those of the split, without the invalid ones."""
        if self.reads_all_splits:
            self.note("training takes the frames of all splits: validation on GTAV sees frames that were trained on")
        elif self.published_split is not None:
            self.note(f"split by {self.published_split}")
        return super().select(pairs)

    def drop_invalid(self, pairs: list[Sample]) -> list[Sample]:
        """Leave out the invalid frames by their numbers."""
        kept = [sample for sample in pairs if int(sample.name) not in self.dropped]
        if len(kept) < len(pairs):
            rule = "by number: 15188 (white), 17705 (black), 20801-20860 (label of another size)"
            rule += " and the 15 of a single colour" if self.dropped > INVALID_FRAMES else ""
            self.note(f"{len(pairs) - len(kept)} invalid frames are left out {rule}")
        return kept

    def _complete_counts(self) -> dict[str, int]:
        """Frames of each split in a complete copy, without those left out by rule; none where a list of one's own decides."""
        usable, single = _FRAMES - len(self.dropped), len(self.dropped - INVALID_FRAMES)
        if self.reads_all_splits:
            return {"train": usable}
        if self.published_split is not None:
            return {"train": _TRAIN - 1 - single, "val": _VAL - _INVALID_VAL}
        if self.split_file is not None:
            return {}
        if self.layout.by_folder:  # RobustNet's, which lack the frames of a single colour
            return {"train": _TRAIN - 1 - len(SINGLE_COLOUR), "val": _VAL - _INVALID_VAL}
        return {"train": usable - usable // 5, "val": usable // 5}
