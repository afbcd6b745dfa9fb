"""A user's own data as a domain: any folders of images and labels, with a table of ids or colours."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.folder_options import (
    EVERY_SPLIT,
    Patterns,
    label_fields,
    label_space_of,
    refuse_together,
    repeated,
    require_sound,
    values_of_classes,
)
from pin_memory.domains.readers.label_maps import ColourLabelError, read_codes, read_indices
from pin_memory.domains.readers.label_spaces import SharedLabelSpace
from pin_memory.domains.readers.layouts import SPLITS, Found, Sample, contents
from pin_memory.domains.readers.polygons import polygons_of
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.labels import TRAIN_ID_TABLE, LabelSpace
from pin_memory.utils.names import near_match


def folder_label_space(
    classes: Sequence[str] | None = None,
    colours: Mapping[str, Sequence[int]] | None = None,
    palette: Mapping[Any, Any] | None = None,
    shared: SharedLabelSpace | None = None,
) -> LabelSpace:
    """What the train ids stand for: an own class list, a shared label space, or the 19 Cityscapes classes."""
    if shared is None:
        return label_space_of(classes, colours, palette)
    if classes is not None or colours is not None:
        raise ConfigurationError("FolderDomain: classes and colours are those of label_space; leave them out, or set label_space=null.")
    return shared.space


class FolderDomain(Domain):
    """Images and labels of any tree below a root.

    Without `{split}` in the patterns and without lists, the last fifth by name is validated on and the rest trained on.

    Args:
        root: The folder that everything lies below.
        split: As in `Domain`.
        transform: As in `Domain`.
        images: A folder, whose files at any depth are the images, or a pattern of files such as "*/rgb/*.jpg": `*` stands for any part of
            a name, `**` for any folders, "{split}" for the folder of the split.
        labels: Likewise. An image's label has the same path below the folder but for the suffix, or the same parts where the `*` are.
        ids: Class name or train id of each raw id of the labels (a list: of raw ids 0, 1, ...); None: they hold train ids. What is not
            listed, or is "ignore", is ignored.
        palette: Instead of `ids`, for labels that are colours: class name or train id of each colour, as "128, 64, 128".
        classes: The class list, whose positions are the train ids; None for the 19 Cityscapes classes.
        colours: Colours to show the classes of `classes` in, [red, green, blue] each.
        splits: Folder of each split for "{split}"; by default train, val and test.
        annotations: Labels are polygons, "coco", "labelme" or "cvat": `labels` is their file (of labelme the folder or pattern), and
            `ids` the class of each name in them; None: the names are those of the classes. Areas are drawn in the order of the file.
        background: Class of the pixels in no polygon; None: they are ignored.
        test_split: The images that a target domain is evaluated on: those of "val" or "test", or "all"; None for those of "val".
        label_space: Instead of `classes` and `colours`, which names in `ids` and `palette` are of; its maps do not count.
        options: As in `Domain`, such as `split_file`.

    Raises:
        DataError: As `Domain`; also when an image has two labels or a label two images.
        ConfigurationError: The options do not fit together, or name a class that is not in the list.
    """

    title = "Own data (folder domain)"
    tree = """
images: images
labels: labels
"""
    download = "your own data; say where images and labels lie with root, images and labels"
    table = TRAIN_ID_TABLE
    layouts = (Patterns("own folders", "images", "labels", "", ""),)

    def __init__(
        self,
        root: str | Path,
        split: str,
        transform: Transform | None = None,
        *,
        images: str = "images",
        labels: str = "labels",
        ids: Mapping[Any, str | int | None] | Sequence[int] | None = None,
        palette: Mapping[Any, str | int | None] | None = None,
        classes: Sequence[str] | None = None,
        colours: Mapping[str, Sequence[int]] | None = None,
        splits: Mapping[str, str] | None = None,
        annotations: str | None = None,
        background: str | int | None = None,
        test_split: Literal["val", "test", "all"] | None = None,
        label_space: SharedLabelSpace | None = None,
        **options: Any,
    ) -> None:
        refuse_together(ids is not None, palette is not None, annotations is not None, background is not None)
        if test_split not in (None, "val", "test", EVERY_SPLIT):
            raise ConfigurationError(f"FolderDomain: test_split={test_split!r}; expected val, test or all.")
        folders = {split: split for split in SPLITS} if splits is None else dict(splits)
        require_sound(images, labels, folders, annotations)
        self._evaluated_split = test_split or "val"
        self.label_space = folder_label_space(classes, colours, palette, label_space)
        names = self.label_space.names
        self.polygons = polygons_of(annotations, ids, background, names) if annotations is not None else None
        if self.polygons is None:
            fields, self.colour_table, train_ids = label_fields(ids, palette, names)
            layout = Patterns
        else:
            fields, self.colour_table, train_ids = self.polygons.fields(), None, self.polygons.train_ids
            layout = self.polygons.layout
        own_list = classes is not None or label_space is not None
        is_default = ids is None and palette is None and not own_list  # then the user has listed nothing
        self.listed_values = {} if is_default else values_of_classes(train_ids, names, own_list)
        self.classes = tuple(name for train_id, name in enumerate(names) if train_id in fields["table"])
        if not self.classes:
            raise ConfigurationError("FolderDomain: no id or colour of the labels is that of a class; list some in ids or palette.")
        self.layouts = (layout("own folders", images, labels, "", "", folders, **fields),)
        self.tree = f"images: {images}\nlabels: {labels}"
        super().__init__(root, split, transform, **options)

    @property
    def folder_split(self) -> str:
        """The split that is read: `split`, but for "test" the one that `test_split` names, or "all"."""
        return self._evaluated_split if self.split == "test" else self.split

    def find(self) -> Found:
        """List the files, some of which have to be pairs."""
        found = super().find()
        if self.polygons is not None and self.polygons.kind != "labelme":
            for path in sorted(set(found.labels.values())):
                self.polygons.check_names(path)
            if absent := found.unpaired_labels:
                self.note(f"{len(absent)} annotated images are not there and are left out: {first_names(absent)}")
                found = replace(found, labels={key: path for key, path in found.labels.items() if key in found.images})
        if found.labels and not found.images.keys() & found.labels.keys():
            (image, image_path), (label, label_path) = min(found.images.items()), min(found.labels.items())
            raise DataError(
                f"{self.title}: none of {len(found.images)} images and {len(found.labels)} labels below {self.root} belong together: "
                "what the * in the patterns stand for (in a folder, the path without suffix) does not agree.\n"
                f"    {image!r}  of {image_path}\n    {label!r}  of {label_path}"
            )
        return found

    def describe_absence(self) -> str:
        """Say which pattern matched nothing."""
        layout = self.layouts[0]
        pattern = layout.images.replace("{split}", layout.splits.get(self.folder_split, "{split}"))
        entries = [entry.name for entry in self.root.iterdir()] if self.root.is_dir() else []
        near = near_match(Path(pattern).parts[0], entries).rstrip(".")
        return f"no image for the split {self.split!r} at {pattern}; {contents(self.root)}{near and ';'}{near}"

    def select(self, pairs: list[Sample]) -> list[Sample]:
        """The samples of the split, by folders, lists or the rule of the last fifth."""
        if twice := repeated([sample.name for sample in pairs]):
            raise DataError(
                f"{self.title}: samples are named by their paths with _ for /, but {first_names(twice)} would be the name of two."
            )
        return pairs if self.folder_split == EVERY_SPLIT else super().select(pairs)

    @property
    def reads_raw_labels(self) -> bool:
        """Whether labels are pictures of ids or colours."""
        return self.polygons is None

    def label_sources(self) -> list[Path]:
        """The files of annotations, which are no pictures."""
        return [] if self.polygons is None else sorted(set(self.found.labels.values()))

    def read_label(self, sample: Sample) -> np.ndarray:
        """Decode a sample's label, or draw its polygons, to train ids, (H, W) uint8."""
        if self.polygons is None:
            return super().read_label(sample)
        return np.asarray(cv2.LUT(self.polygons.draw(sample, self.found.root), self.table))

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Decode a label file, (H, W) uint8: raw ids, or the train ids of its colours."""
        if self.colour_table is not None:
            return self.colour_table.decode(read_codes(path))
        try:
            return read_indices(path)
        except ColourLabelError as error:
            raise DataError(f"{error} Labels that are colours need palette (class of each colour).") from error
