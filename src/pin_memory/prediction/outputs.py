"""What is written of a segmented image, under which names, and when it counts as done."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pin_memory.domains.readers.cityscapes import Cityscapes
from pin_memory.inference import Segmentation
from pin_memory.prediction.inputs import Item
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.labels import CLASSES, IGNORE, LabelSpace
from pin_memory.utils.pictures import colorize, overlay, with_legend, write_image
from pin_memory.utils.validation import Share, validated

Kind = Literal["mask", "color", "overlay", "confidence", "logits"]
Kinds = tuple[Kind, ...]
_ENDINGS = {"color": "_color.png", "overlay": "_overlay.jpg", "confidence": "_confidence.png", "logits": "_logits.npz"}
_MASKS = {"train": "_trainids.png", "label": "_labelids.png", "acdc": ".png"}  # what the name of an image's mask ends in


@validated("")
@dataclass(frozen=True)
class Saving:
    """What is saved, and how.

    Attributes:
        save: One or more of "mask", "color", "overlay", "confidence", "logits"; None for mask, color and overlay of an image and overlay of
            a video.
        ids: What a mask holds: "train" ids 0..K-1, Cityscapes' "label" ids 0..33, which its evaluation server takes, or "acdc":
            train ids under the image's own name, for ACDC's server.
        alpha: Opacity of the colours on an overlay, 0..1.
        since: Time in nanoseconds; older files do not count as done. None: no file counts, everything is segmented again.

    Raises:
        ConfigurationError: A setting is out of its range.
    """

    save: Annotated[Kinds, Field(min_length=1)] | None = None
    ids: Literal["train", "label", "acdc"] = "train"
    alpha: Share = 0.5
    since: int | None = None

    def check_classes(self, space: LabelSpace) -> None:
        """Refuse the ids of a server for classes that it does not know: others than Cityscapes' 19."""
        if self.ids != "train" and tuple(space.names) != CLASSES:
            raise ConfigurationError(
                f"ids={self.ids}: these ids are those of the 19 Cityscapes classes, but this network predicts {len(space)} others"
                f" ({', '.join(space.names[:4])}, ...). Set ids=train: the position in its class list."
            )

    def kinds_of(self, item: Item) -> Kinds:
        """What is saved of an image or a video."""
        return self.save or (("overlay",) if item.is_video else ("mask", "color", "overlay"))

    def files(self, name: Path, kinds: Sequence[Kind]) -> dict[Kind, Path]:
        """The file of each kind, for an image of this name."""
        endings = {"mask": _MASKS[self.ids]} | _ENDINGS
        return {kind: name.with_name(name.name + endings[kind]) for kind in kinds}

    def is_done(self, source: Path, files: Sequence[Path]) -> bool:
        """Whether all files are there, made by the present settings, and no older than what they were made from."""
        if self.since is None:
            return False
        oldest = max(self.since, source.stat().st_mtime_ns if source.exists() else 0)
        found = [file.stat() for file in files if file.is_file()]
        # A crash of the machine can leave an empty file.
        return len(found) == len(files) and all(status.st_size and status.st_mtime_ns >= oldest for status in found)

    def write(self, name: Path, kinds: Sequence[Kind], rgb: np.ndarray, found: Segmentation, space: LabelSpace) -> None:
        """Write the files of an image `(H, W, 3)` uint8, each complete or not at all, the overlay with a legend.

        Those of the logits are `logits` `(K, H, W)` float16 and `classes` `(K,)`; their soft-max are the probabilities.
        """
        for kind, path in self.files(name, kinds).items():
            if kind == "logits":
                assert found.logits is not None
                np.savez_compressed(buffer := BytesIO(), logits=found.logits, classes=np.array(space.names))
                with report_write_errors(path), atomic_write(path) as temporary:
                    temporary.write_bytes(buffer.getbuffer())
                continue
            picture = self.picture(kind, rgb, found, space)
            write_image(path, with_legend(picture, found.mask, space) if kind == "overlay" else picture)

    def picture(self, kind: Kind, rgb: np.ndarray, found: Segmentation, space: LabelSpace) -> np.ndarray:
        """A segmented image as a picture `(H, W)` or `(H, W, 3)` uint8."""
        if kind == "mask":
            return label_ids()[found.mask] if self.ids == "label" else found.mask
        if kind == "color":
            return colorize(found.mask, space)
        if kind == "overlay":
            return overlay(rgb, found.mask, self.alpha, space)
        assert found.confidence is not None
        return (found.confidence * 255).clip(0, 255).round().astype(np.uint8)


def label_ids() -> np.ndarray:
    """The Cityscapes label id of each train id, `(256,)` uint8; 0 (unlabelled) where there is none."""
    table = np.zeros(256, np.uint8)
    raw = np.flatnonzero(Cityscapes.table != IGNORE)
    table[Cityscapes.table[raw]] = raw
    return table
