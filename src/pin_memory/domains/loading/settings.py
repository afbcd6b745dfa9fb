"""How much is loaded, and how: settings of all data sets, and what their loaders share."""

import math
import os
from dataclasses import dataclass
from typing import Any

import cv2
import torch
from torch.utils.data import default_collate

from pin_memory.utils.errors import ConfigurationError, DataError

ON_BAD_SAMPLE = ("raise", "skip")
"""What may happen at a training image or label that cannot be read."""
SAMPLINGS = ("uniform", "rare_class")
"""Rules that choose the training images."""

# Ranges of whole numbers. The upper ends keep a slip of the keyboard from asking for all memory; nothing sensible comes near them.
_RANGES = {
    "batch_size": (1, 4096),
    "num_workers": (0, 4096),
    "draws_per_epoch": (1, 10**9),
    "max_val_images": (1, 10**9),
    "max_test_images": (1, 10**9),
    "evaluation_batch_size": (1, 4096),
    "seed": (0, 2**64 - 1),
}
_OPTIONAL = ("max_val_images", "max_test_images")


@dataclass(frozen=True)
class Loading:
    """How much is loaded, and how.

    Attributes:
        batch_size: Training images per batch, of each domain and on each device.
        num_workers: Loading processes of each domain; never more than there are CPUs.
        draws_per_epoch: Training draws in one epoch, of each domain.
        max_val_images: Validate on at most so many images, evenly spaced; None for all.
        max_test_images: Test on at most so many images, evenly spaced; None for all.
        seed: Decides order and augmentation.
        evaluation_batch_size: Validation and test images predicted together, which then must be of one size; their number has no effect
            on the scores, except with `test_statistics.policy=batch`.
        sampling: Which training images are drawn: "uniform" or "rare_class" (see `RareClassSampler`).
        rare_class_temperature: Of "rare_class"; the lower, the more the rarest classes are preferred.
        rare_class_min_share: Of "rare_class"; least share of an image's pixels with which it shows a class.
        on_bad_sample: What happens at a training image or label that cannot be read: "raise" ends the run, "skip" draws another sample in
            its place (see `SkippingBad`). Evaluation always ends.
        max_bad_share: Of "skip"; the run ends when a larger share of a domain's training samples is bad.
    """

    batch_size: int = 4
    num_workers: int = 4
    draws_per_epoch: int = 2975
    max_val_images: int | None = 500
    max_test_images: int | None = None
    seed: int = 304
    evaluation_batch_size: int = 1
    sampling: str = "uniform"
    rare_class_temperature: float = 0.01
    rare_class_min_share: float = 0.0015
    on_bad_sample: str = "raise"
    max_bad_share: float = 0.1

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigurationError: A value is out of its range.
        """
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (_is_whole(value) and low <= value <= high) and not (value is None and name in _OPTIONAL):
                raise ConfigurationError(f"loading.{name} must be a whole number of at least {low} and at most {high}, found {value!r}.")
        if self.sampling not in SAMPLINGS:
            raise ConfigurationError(f"loading.sampling={self.sampling}: expected {' or '.join(SAMPLINGS)}.")
        if self.on_bad_sample not in ON_BAD_SAMPLE:
            raise ConfigurationError(f"loading.on_bad_sample={self.on_bad_sample}: expected {' or '.join(ON_BAD_SAMPLE)}.")
        for name in ("rare_class_temperature", "rare_class_min_share", "max_bad_share"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise ConfigurationError(f"loading.{name} must be a number of at least 0, found {value!r}.")
        if not (self.rare_class_temperature > 0 and self.rare_class_min_share <= 1 and self.max_bad_share <= 1):
            raise ConfigurationError(
                "loading.rare_class_temperature must be above 0, loading.rare_class_min_share and loading.max_bad_share within 0..1."
            )

    @property
    def workers(self) -> int:
        """`num_workers`, at most one for each CPU this process may use."""
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(self.num_workers, cpus)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def loader_options(workers: int) -> dict[str, Any]:
    """Options shared by all loaders."""
    return {"num_workers": workers, "pin_memory": torch.cuda.is_available(), "worker_init_fn": _start_worker}


def _start_worker(_: int) -> None:
    """One thread per loading process: several of OpenCV's own would only compete."""
    cv2.setNumThreads(0)


def collate(samples: list[dict[str, Any]]) -> Any:
    """Put evaluation images together.

    Raises:
        DataError: They differ in size.
    """
    sizes = {tuple(sample[part].shape[-2:]): sample["name"] for part in ("image", "label") for sample in samples}
    if len({tuple(sample["image"].shape) for sample in samples}) > 1 or len({tuple(sample["label"].shape) for sample in samples}) > 1:
        shown = ", ".join(f"{width}x{height} ({name})" for (height, width), name in list(sizes.items())[:3])
        raise DataError(f"Images of different sizes cannot be predicted together: {shown}. Set loading.evaluation_batch_size=1.")
    return default_collate(samples)
