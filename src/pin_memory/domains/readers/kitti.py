"""KITTI semantics (Abu Alhaija et al., IJCV 2018): 200 labelled frames."""

from collections.abc import Collection, Mapping
from typing import ClassVar

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.domains.readers.layouts import Layout
from pin_memory.domains.readers.listing import Sample
from pin_memory.domains.readers.splits import split_last_fifth


class KITTI(Domain):
    """KITTI: grey PNGs of Cityscapes label ids; frames are about 1242 x 375, of several sizes.

    There is no official split of the labelled frames: as a source, the last fifth by name is validated on and the rest trained on; as a
    target, all of them are judged on. With a `split_file`, a target is judged on the list of "val": lists of "test" name frames of
    `testing/`, which have no labels, though their names are among those of `training/`, too.
    """

    title: ClassVar[str] = "KITTI semantics"
    tree = """
training/image_2/<number>_10.png
training/semantic/<number>_10.png
(or both below data_semantics/)
"""
    download: ClassVar[str] = "data_semantics.zip from cvlibs.net/datasets/kitti (semantic segmentation; after registration)"
    table = Cityscapes.table
    layouts: tuple[Layout, ...] = (
        Layout("as published", "training/image_2", "training/semantic", r"(\d{6}_10)\.png", r"(\d{6}_10)\.png", encoding="labelIds"),
    )
    inner_roots: ClassVar[tuple[str, ...]] = ("", "data_semantics")
    official_counts: Mapping[str, int] = {"train": 160, "val": 40, "test": 200}

    raw_ids: Collection[int] | None = range(34)
    """The values that a label file may hold."""

    def default_split(self, pairs: list[Sample]) -> list[Sample]:
        """All for "test", otherwise the rule of the last fifth."""
        return pairs if self.split == "test" else split_last_fifth(pairs, self.split)
