"""What is written of a segmented picture, under which names, and when it counts as done."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.prediction.inputs import Item
from pin_memory.prediction.segmenting import Segmentation
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.labels import CLASSES, IGNORE, LabelSpace
from pin_memory.utils.pictures import colorize, overlay, with_legend, write_image

KINDS = ("mask", "color", "overlay", "confidence", "logits")
"""What can be saved."""
OF_IMAGES = ("mask", "color", "overlay")
OF_VIDEOS = ("overlay",)
"""What is saved where nothing is said."""
IDS = {"train": "trainids", "label": "labelids"}
"""Which ids a mask can hold, and how its file is named."""
_ENDINGS = {"color": "color.png", "overlay": "overlay.jpg", "confidence": "confidence.png", "logits": "logits.npz"}
_LAST_BYTES = {".png": b"IEND\xaeB`\x82", ".jpg": b"\xff\xd9"}
"""How a whole file of a kind ends."""


@dataclass(frozen=True)
class Saving:
    """What is saved, and how.

    Attributes:
        kinds: Of `KINDS`; None for what is usual for an image or a video.
        ids: What a mask holds: "train" ids 0..K-1, or Cityscapes' "label" ids 0..33, which its evaluation server takes.
        alpha: Opacity of the colours on an overlay, 0..1.
        since: Time in nanoseconds; older files do not count. None: no file counts, everything is made anew.
    """

    kinds: tuple[str, ...] | None = None
    ids: str = "train"
    alpha: float = 0.5
    since: int | None = None

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ConfigurationError: There is no such kind, no such ids, nothing to save, or the opacity is out of its range.
        """
        unknown = [kind for kind in self.kinds or () if kind not in KINDS]
        if unknown or self.kinds == ():
            found = ", ".join(map(str, unknown)) or "nothing"
            raise ConfigurationError(f"save: expected one or more of {', '.join(KINDS)}, found {found}.")
        if self.ids not in IDS:
            raise ConfigurationError(f"ids={self.ids}: expected one of {', '.join(IDS)}.")
        if not isinstance(self.alpha, int | float) or not 0 <= self.alpha <= 1:
            raise ConfigurationError(
                f"alpha={self.alpha}: the opacity of the colours must be a number from 0 (image only) to 1 (colours only)."
            )

    def check_classes(self, space: LabelSpace) -> None:
        """Refuse label ids of classes that have none.

        Raises:
            ConfigurationError: The classes are not Cityscapes' 19.
        """
        if self.ids == "label" and tuple(space.names) != CLASSES:
            raise ConfigurationError(
                f"ids=label: label ids are those of the 19 Cityscapes classes, but this network tells {len(space)} others"
                f" ({', '.join(space.names[:4])}, ...). Say ids=train: the position in its class list."
            )

    def kinds_of(self, item: Item) -> tuple[str, ...]:
        """What is saved of an image or a video."""
        return self.kinds or (OF_VIDEOS if item.is_video else OF_IMAGES)

    def wants(self, kind: str, items: Sequence[Item]) -> bool:
        """Whether something is saved of any of the items."""
        return any(kind in self.kinds_of(item) for item in items)

    def files(self, name: Path, kinds: Sequence[str]) -> dict[str, Path]:
        """The file of each kind, for a picture of this name."""
        endings = _ENDINGS | {"mask": f"{IDS[self.ids]}.png"}
        return {kind: name.with_name(f"{name.name}_{endings[kind]}") for kind in kinds}

    def done(self, source: Path | None, files: Sequence[Path]) -> bool:
        """Whether all files are there, whole, made by the present settings, and no older than what they were made from."""
        if self.since is None:
            return False
        oldest = max(self.since, source.stat().st_mtime_ns if source is not None and source.exists() else 0)
        return all(is_whole(file) and file.stat().st_mtime_ns >= oldest for file in files)


def write_picture(
    folder: Path,
    name: Path,
    kinds: Sequence[str],
    saving: Saving,
    rgb: np.ndarray,
    found: Segmentation,
    space: LabelSpace,
    legend: bool = True,
) -> list[Path]:
    """Write what is wanted of a segmented picture, each file whole or not at all.

    Args:
        folder: The output folder.
        name: Of the picture, below it.
        kinds: What to write.
        saving: How.
        rgb: The picture (H, W, 3) uint8.
        found: What the network made of it, with confidence and logits where they are wanted.
        space: What the train ids stand for.
        legend: Put a legend below the overlay.

    Returns:
        The files.

    Raises:
        OutputError: A file cannot be written.
    """
    files = saving.files(folder / name, kinds)
    for kind, path in files.items():
        if kind == "logits":
            assert found.logits is not None
            write_logits(path, found.logits, space)
        else:
            write_image(path, picture_of(kind, saving, rgb, found, space, legend))
    return list(files.values())


def picture_of(kind: str, saving: Saving, rgb: np.ndarray, found: Segmentation, space: LabelSpace, legend: bool = False) -> np.ndarray:
    """One kind of picture, (H, W) or (H, W, 3) uint8; arguments as of `write_picture`."""
    if kind == "mask":
        return found.mask if saving.ids == "train" else label_ids()[found.mask]
    if kind == "color":
        return colorize(found.mask, space)
    if kind == "confidence":
        assert found.confidence is not None
        return (found.confidence * 255).clip(0, 255).round().astype(np.uint8)
    laid = overlay(rgb, found.mask, saving.alpha, space)
    return with_legend(laid, found.mask, space) if legend else laid


def write_logits(path: Path, logits: np.ndarray, space: LabelSpace) -> None:
    """Write `logits` (K, H, W) float16 and `classes` (K,) as a compressed npz file; its soft-max are the probabilities.

    Raises:
        OutputError: The file cannot be written.
    """
    np.savez_compressed(buffer := BytesIO(), logits=logits, classes=np.array(space.names))
    with report_write_errors(path), atomic_write(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def label_ids() -> np.ndarray:
    """The Cityscapes label id of each train id, (256,) uint8; 0 (unlabelled) where there is none."""
    table = np.zeros(256, np.uint8)
    for raw, train in enumerate(Cityscapes.table):
        if train != IGNORE:
            table[train] = raw
    return table


def is_whole(path: Path) -> bool:
    """Whether a file is there and ends as a file of its kind does; a crash of the machine can leave an empty one."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            size = stream.tell()
            stream.seek(max(0, size - 64))
            end = stream.read()
    except OSError:
        return False
    if path.suffix == ".npz":
        return b"PK\x05\x06" in end  # the directory at the end of the archive
    return size > 0 and end.endswith(_LAST_BYTES.get(path.suffix, b""))
