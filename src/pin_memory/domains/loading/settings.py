"""How much is loaded, and how: the settings that all data sets share."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pin_memory.domains.loading.parallel import usable_cpus
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, Share, validated

# The upper ends keep a slip of the keyboard from asking for all memory; nothing sensible comes near them.
_Batch = Annotated[int, Field(ge=1, le=4096)]
_Limit = Annotated[int, Field(ge=1, le=10**9)] | None


@validated("loading")
@dataclass(frozen=True)
class Loading:
    """How much is loaded, and how.

    Attributes:
        batch_size: Training images per batch, of each domain and on each device.
        num_workers: Loading processes of each domain; never more than there are CPUs.
        max_val_images: Validate on at most so many images, evenly spaced; None for all.
        max_test_images: Test on at most so many images, evenly spaced; None for all.
        seed: Decides order and augmentation.
        evaluation_batch_size: Validation and test images predicted together, which then must be of one size; their number has no effect
            on the scores, except with `test_statistics.policy=batch`.
        sampling: Which training images are drawn: "uniform" or "rare_class" (see `RareClassSampler`).
        rare_class_temperature: Of "rare_class"; the lower, the more the rarest classes are preferred.
        rare_class_min_share: Of "rare_class"; least share of an image's pixels with which it shows a class.
        rare_class_crop_pixels: Of "rare_class"; a crop with fewer pixels of the class is drawn again. None: the first crop counts.
        rare_class_crop_tries: Most crops that are drawn for that.
        on_bad_sample: What happens at a training image or label that cannot be read: "raise" ends the run, "skip" draws another sample in
            its place (see `SkippingBad`). Evaluation always ends.
        max_bad_share: Of "skip"; the run ends when a larger share of a domain's training samples is bad.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    batch_size: _Batch = 4
    num_workers: Annotated[int, Field(ge=0, le=4096)] = 4
    max_val_images: _Limit = 500
    max_test_images: _Limit = None
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 304
    evaluation_batch_size: _Batch = 1
    sampling: Literal["uniform", "rare_class"] = "uniform"
    rare_class_temperature: Annotated[float, Field(gt=0)] = 0.01
    rare_class_min_share: Share = 0.0015
    rare_class_crop_pixels: Count | None = None
    rare_class_crop_tries: Annotated[int, Field(ge=2, le=1000)] = 10
    on_bad_sample: Literal["raise", "skip"] = "raise"
    max_bad_share: Share = 0.1

    def __post_init__(self) -> None:
        """Refuse a condition on crops that nothing would look at."""
        if self.rare_class_crop_pixels is not None and self.sampling != "rare_class":
            raise ConfigurationError(
                f"loading.rare_class_crop_pixels={self.rare_class_crop_pixels} is of loading.sampling=rare_class, but sampling is"
                f" {self.sampling}, which asks for no class. Leave it out, or set loading.sampling=rare_class."
            )

    @property
    def workers(self) -> int:
        """`num_workers`, at most one for each CPU this process may use."""
        return min(self.num_workers, usable_cpus())
