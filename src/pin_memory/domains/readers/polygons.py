"""Labels of own data that are drawn from polygons when they are read (`FolderDomain`, option `annotations`)."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.domains.readers.coco_masks import paint
from pin_memory.domains.readers.folder_options import EVERY_SPLIT, Patterns, keyed, matches, repeated, train_id_of
from pin_memory.domains.readers.layouts import SPLITS, Found, Sample
from pin_memory.domains.readers.polygon_files import FAULTS, incomplete, listed_name, read_annotations
from pin_memory.utils.decoding import check_pixels
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.labels import IGNORE, label_table
from pin_memory.utils.names import composed, existing

KINDS = ("coco", "labelme", "cvat")
"""What `annotations` may be."""


class LabelmeFiles(Patterns):
    """A tree whose labels are JSON files, one for each image."""

    label_files = "polygons"


class OneFile(Patterns):
    """A tree whose labels are one file, or one for each split; what it lists is the end of an image's path."""

    def find(self, root: Path, splits: Sequence[str]) -> Found | None:
        """List the images, and that file as the label of each that it lists."""
        images: dict[str, Path] = {}
        labels: dict[str, Path] = {}
        inner = self.split_folders(SPLITS if EVERY_SPLIT in splits else splits)
        for folder in inner:
            if not (found := matches(root, self.images.replace("{split}", folder), "images")):
                continue
            index = existing(root / self.labels.replace("{split}", folder))
            if not index.is_file():
                raise DataError(f"FolderDomain: there are images below {root}, but no file {index} with their annotations.")
            names = read_annotations(index, self.encoding.split()[-1]).frames
            own = {path: listed_name(path.relative_to(root), names) for path in found}
            if twice := repeated([name for name in own.values() if name is not None]):
                paths = first_names(str(path) for path, name in own.items() if name == twice[0])
                raise DataError(f"FolderDomain: {twice[0]!r} in {index} may be any of {paths}; write the folders into the annotations.")
            start = f"{folder}/" if len(inner) > 1 else ""
            images |= keyed({path: start + key for path, key in found.items()}, "images")
            labels |= {start + key: index for path, key in found.items() if own[path] is not None}
            labels |= {f"{start}{name}": index for name in names.keys() - own.values() if self._lists_this_split_alone}
        return Found(self, root, images, labels) if images else None

    @property
    def _lists_this_split_alone(self) -> bool:
        return not self.by_folder or "{split}" in self.labels


@dataclass(frozen=True)
class Polygons:
    """How labels are drawn: the kind of the annotations, the train id of each name, and that of pixels in no area."""

    kind: str
    train_ids: Mapping[str, int]
    background: int

    @property
    def layout(self) -> type[Patterns]:
        """The tree that the labels lie in."""
        return LabelmeFiles if self.kind == "labelme" else OneFile

    def fields(self) -> dict[str, Any]:
        """Fields of the layout; the counts of classes are kept by the encoding, which depends on the names."""
        known = {*self.train_ids.values(), self.background}
        digest = zlib.crc32(repr((sorted(self.train_ids.items()), self.background)).encode())
        table = label_table({train: train for train in known if train != IGNORE})
        return {"encoding": f"polygons ({digest:08x}) of {self.kind}", "table": table, "raw_ids": {IGNORE, *known}}

    def check_names(self, path: Path) -> None:
        """Refuse a file with names of no class."""
        self._refuse(path, read_annotations(path, self.kind).names)

    def draw(self, sample: Sample, root: Path) -> np.ndarray:
        """Draw the areas of an image in the order of its file, later ones on top: train ids, (H, W) uint8.

        Raises:
            DataError: The annotations are damaged, name no class, or do not list the image.
        """
        found = read_annotations(sample.label, self.kind)
        name = sample.label.name if self.kind == "labelme" else listed_name(sample.image.relative_to(root), found.frames)
        if name is None:
            raise DataError(f"{sample.label}: lists no image {sample.image}.")
        self._refuse(sample.label, found.names)
        frame = found.frames[composed(name)]
        check_pixels(sample.label, frame.width, frame.height)
        canvas = np.full((frame.height, frame.width), self.background, np.uint8)
        try:
            for shape, area in json.loads(frame.shapes):
                paint(canvas, area, IGNORE if shape is None else self.train_ids[shape])
        except FAULTS as error:
            raise incomplete(sample.label, self.kind, error) from error
        return canvas

    def _refuse(self, path: Path, names: frozenset[str]) -> None:
        if unknown := sorted(names - self.train_ids.keys()):
            raise DataError(
                f"{path}: {first_names(unknown, 20)} {'is' if len(unknown) == 1 else 'are'} not listed. Known names:"
                f" {first_names(self.train_ids, 30)}. Say in ids what becomes of each, as {{{unknown[0]}: ignore}}."
            )


def polygons_of(kind: str, ids: Any, background: str | int | None, names: Sequence[str]) -> Polygons:
    """How labels of a kind are drawn; `ids` has the class of each name in the annotations, None: they are the names of the classes."""
    if kind not in KINDS:
        raise ConfigurationError(
            f"FolderDomain: annotations={kind!r}; expected one of {', '.join(KINDS)}, or null for labels that are pictures."
        )
    if ids is not None and not isinstance(ids, Mapping):
        raise ConfigurationError(f"FolderDomain: ids={ids!r}; with annotations, ids has the class of each name: {{kerb: sidewalk}}.")
    listed = {name: name for name in names} if ids is None else ids
    train_ids = {composed(str(name)): train_id_of(value, names, "ids") for name, value in listed.items()}
    return Polygons(kind, train_ids, train_id_of(background, names, "background"))
