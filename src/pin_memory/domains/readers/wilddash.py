"""WildDash 2 (Zendel et al., CVPR 2022): 4,256 public frames from all over the world, labelled as panoptic segments."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.cityscapes import LABEL_IDS
from pin_memory.domains.readers.draws import Transform
from pin_memory.domains.readers.label_maps import CodeTable, read_codes, read_indices
from pin_memory.domains.readers.layouts import Layout
from pin_memory.domains.readers.splits import last_fifth_or_all
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import CLASSES, IGNORE
from pin_memory.utils.safe_load import read_json

_PICKUP = 34
# Categories 0..33 are those of Cityscapes; pickup as the data set's own policy has it, van, billboard, street light, road marking.
_TABLE = LABEL_IDS.copy()
for _category, _train_id in {_PICKUP: CLASSES.index("truck"), 35: 13, 36: IGNORE, 37: IGNORE, 38: 0}.items():
    _TABLE[_category] = _train_id


class WildDash(Domain):
    """WildDash 2: panoptic PNGs whose colour is the number of a segment, and one JSON file with the segments' categories.

    There is no official split: as a source, the last fifth by name is validated on and the rest trained on; a target is evaluated on all
    frames. The bonnet of the recording car is a category of its own (ego vehicle) and is ignored.

    Args:
        pickup: The class that pickups count as: "truck", as the data set's authors map it to Cityscapes, or "car". The other arguments are
            those of `Domain`.

    Raises:
        DataError: As `Domain`; also when the JSON file is missing.
        ConfigurationError: As `Domain`; also when pickups are neither.
    """

    title = "WildDash 2"
    tree = """
images/<name>.jpg
panoptic/<name>.png
panoptic.json
(or all below wd_public_02/ or wd_public_v2p0/)
"""
    download = "the public ground truth package of WildDash 2 from wilddash.cc (after registration)"
    table = _TABLE
    layouts = tuple(
        # Raw ids are the categories, and what is read where there is no segment.
        Layout(name, "images", folder, r"(.+)\.(?:jpg|png)", r"(.+)\.png", encoding=encoding, raw_ids=frozenset({*range(39), IGNORE}))
        for name, folder, encoding in (
            ("panoptic as published", "panoptic", "panoptic"),
            ("category ids in labels", "labels", "ids"),
            ("category ids in semantic", "semantic", "ids"),
        )
    )
    inner_roots = ("", "wd_public_02", "wd_public_v2p0")
    split_rule = staticmethod(last_fifth_or_all)
    official_counts = {"train": 3405, "val": 851, "test": 4256}

    def __init__(self, root: str | Path, split: str, transform: Transform | None = None, pickup: str = "truck", **options: Any) -> None:
        if pickup not in ("truck", "car"):
            raise ConfigurationError(f"WildDash's pickup={pickup}: expected truck or car.")
        self.table = _TABLE.copy()
        self.table[_PICKUP] = CLASSES.index(pickup)
        super().__init__(root, split, transform, **options)
        if self.layout.encoding == "panoptic" and not self.label_sources():
            raise self.missing(f"there are panoptic pictures, but no file {self._index}, which says what their segments are")

    @property
    def _index(self) -> Path:
        """The file that says which category a segment has."""
        return self.found.root / "panoptic.json"

    def label_sources(self) -> list[Path]:
        """The file that says which category a segment has, where it is there."""
        return [self._index] if self._index.is_file() else []

    def read_raw_label(self, path: Path) -> np.ndarray:
        """Read the categories, (H, W) uint8; pixels of no segment become 255."""
        if self.layout.encoding == "ids":
            return read_indices(path)
        # Opened here rather than when listing, so that a reader is small when it is sent to a loading process.
        segments = _segments(self._index, self._index.stat().st_mtime_ns) if self._index.is_file() else {}
        if path.stem not in segments:
            raise DataError(f"{path}: {self._index} has no annotation for this file. Both should be of the same release: get them again.")
        return segments[path.stem].decode(read_codes(path))


@lru_cache(maxsize=2)
def _segments(path: Path, _changed: int) -> dict[str, CodeTable]:
    """The category of each segment of each frame, read once per process and state of the file.

    0, the number of unlabelled pixels, and categories that the data set does not have are void.
    """
    found: dict[str, CodeTable] = {}
    try:
        for frame in read_json(path)["annotations"]:
            categories = {int(segment["id"]): int(segment["category_id"]) for segment in frame["segments_info"]}
            ids = {code: category if 0 <= category < IGNORE else IGNORE for code, category in categories.items()}
            found[Path(frame["file_name"]).stem] = CodeTable(ids | {0: IGNORE})
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}).") from error
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: not a complete panoptic annotation: expected JSON with annotations of file_name and segments_info (id, category_id), "
            f"found {type(error).__name__}: {error}. Get this file again."
        ) from error
    return found
