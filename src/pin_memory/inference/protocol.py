"""Evaluation protocols: how a network is applied to an image, by name and version, as scores of different ones cannot be compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field, PositiveInt
from torch import Tensor

from pin_memory.inference.batch_norm import RUNNING, BatchNormStatistics
from pin_memory.inference.windows import add_resized, resize_images, scaled_size, windows_along
from pin_memory.memory.operations import at_least_float32
from pin_memory.networks import MemorySegmenter
from pin_memory.utils.images import normalize
from pin_memory.utils.validation import validated

_STRIPE = 64
"""Rows that are turned into probabilities at a time: a soft-max of a whole 8-megapixel map would take as much memory as the map."""
_Part = tuple[Tensor, tuple[int, int], int, int]
"""Scores of a part of an image, the size of the image at the scale of the pass, and the first row and column of the part in it."""


def _as_plain(value: Any) -> Any:
    """A tuple or a dictionary for a container of a YAML file, which may be OmegaConf's."""
    if isinstance(value, Mapping):
        return dict(value)
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _as_sides(window: Any) -> Any:
    """Rows and columns; one number stands for a square."""
    return (window, window) if isinstance(window, int) else _as_plain(window)


@validated("protocol")
@dataclass(frozen=True)
class Protocol:
    """Whole image or sliding window, at one scale or several, with or without its mirror image.

    Every pass (a scale, mirrored or not) has the same weight; within a pass of windows every pixel is averaged over the windows that see
    it. What is kept is one score map at the size of the label, whatever the scales.

    Attributes:
        name: As in conf/protocol and in the results.
        version: Raised whenever the same name would give other numbers.
        window: Rows and columns of the sliding window, in pixels of the scaled image; one number for a square; None for the whole image.
            A window larger than the image is cut to it.
        overlap: Share of a window that its neighbour sees as well; the last window of a row or column is shifted inwards.
        scales: Of the image, each a pass.
        rows: Images of another height are enlarged or scaled down to so many rows, before `scales`; None for their own.
        flip: Also predict the mirror image, and mirror its scores back.
        average: What is averaged, "probabilities" (soft-max of the logits) or "logits".
        longest: Images whose longer side has more pixels than this, after scaling, are scaled down to it; None for no limit.
        window_batch: Windows predicted together; matters to speed and memory alone.
        views: Evaluation view by the reader of a target, e.g. `{Mapillary: centre_1536}`, in place of the target's own.

    Raises:
        ConfigurationError: A setting is out of its range.
    """

    name: str
    version: int = 1
    window: Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_sides)] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1)] = 1 / 3
    scales: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1), BeforeValidator(_as_plain)] = (1.0,)
    rows: PositiveInt | None = None
    flip: bool = False
    average: Literal["probabilities", "logits"] = "probabilities"
    longest: PositiveInt | None = None
    window_batch: PositiveInt = 4
    views: Annotated[dict[str, str], BeforeValidator(_as_plain)] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        """The name in results."""
        return f"{self.name}@{self.version}"

    @property
    def settings(self) -> dict[str, Any]:
        """What the scores depend on, as plain values; with name and version they give an equal protocol."""
        windows = {"window": list(self.window), "overlap": self.overlap} if self.window else {}
        windows |= {"rows": self.rows} if self.rows else {}
        rest = {"scales": list(self.scales), "flip": self.flip, "average": self.average, "longest": self.longest, "views": dict(self.views)}
        return windows | rest

    @property
    def single_pass(self) -> bool:
        """Whether it is one forward pass of the image as it is."""
        return self.window is None and self.scales == (1.0,) and not self.flip and self.longest is None and self.rows is None

    @property
    def scores_are_probabilities(self) -> bool:
        """Whether `scores` are averaged probabilities; logits otherwise."""
        return self.average == "probabilities" and not self.single_pass

    @torch.inference_mode()
    def probabilities(
        self, network: MemorySegmenter, images: Tensor, size: tuple[int, int] | None = None, statistics: BatchNormStatistics = RUNNING
    ) -> Tensor:
        """Class probabilities of images of any size; arguments as of `scores`.

        Returns:
            `(B, K, *size)`, float32 at least, sum 1 over the classes.
        """
        scores = self.scores(network, images, size, statistics)
        return scores if self.scores_are_probabilities else _softmax_(scores)

    @torch.inference_mode()
    def predict(
        self, network: MemorySegmenter, images: Tensor, size: tuple[int, int] | None = None, statistics: BatchNormStatistics = RUNNING
    ) -> Tensor:
        """Segment images of any size; arguments as of `scores`.

        Returns:
            Train ids `(B, *size)` int64: the class with the highest score.
        """
        return self.scores(network, images, size, statistics).max(dim=1).indices  # as argmax, which takes thrice as long on CPUs

    @torch.inference_mode()
    def scores(
        self, network: MemorySegmenter, images: Tensor, size: tuple[int, int] | None = None, statistics: BatchNormStatistics = RUNNING
    ) -> Tensor:
        """Average the scores of all passes, probabilities or logits by `scores_are_probabilities`.

        Args:
            network: In eval mode.
            images: `(B, 3, H, W)`, uint8 or normalised.
            size: Of the label, which the scores are resized to; by default that of the images.
            statistics: What batch norm normalises by. "image": every window by its own, "batch": by the same window of all images.

        Returns:
            `(B, K, *size)`, float32 at least; of a single pass the logits themselves.
        """
        images, size = normalize(images), size or (images.shape[-2], images.shape[-1])
        with statistics.applied(network):
            groups = [self._group_scores(network, group, size, statistics) for group in statistics.groups(images)]
        return groups[0] if len(groups) == 1 else torch.cat(groups)

    def _group_scores(self, network: MemorySegmenter, images: Tensor, size: tuple[int, int], statistics: BatchNormStatistics) -> Tensor:
        """Averaged scores `(B, K, *size)` of images that are normalised together."""
        if self.single_pass:
            return at_least_float32(network.segment(images, size))
        # Windows are only batched where no statistics are taken over the batch.
        together = max(1, self.window_batch // len(images)) if statistics.policy == "running" else 1
        total: Tensor | None = None
        height, width = images.shape[-2:]
        zoom = 1.0 if self.rows is None else self.rows / height
        passes = [(zoom * scale, mirrored) for scale in self.scales for mirrored in ((False, True) if self.flip else (False,))]
        for scale, mirrored in passes:
            scaled = resize_images(images, scaled_size(height, width, scale, self.longest))
            stripes = self.window is None
            parts = self._stripes(network, scaled, size, mirrored) if stripes else self._windows(network, scaled, mirrored, together)
            for scores, source, top, left in parts:
                if total is None:
                    total = scores.new_zeros(len(images), scores.shape[1], *size)
                # Under autocast the interpolation would be done in half precision.
                with torch.autocast(images.device.type, enabled=False):
                    add_resized(total, scores.div_(len(passes)), source, top, left)
        assert total is not None
        return total

    def _stripes(self, network: MemorySegmenter, images: Tensor, size: tuple[int, int], mirrored: bool) -> Iterator[_Part]:
        """Scores of a pass over the whole image, the logits resized straight to the label, in stripes of rows."""
        logits = at_least_float32(network.segment(images.flip(-1) if mirrored else images, size))
        for top in range(0, size[0], _STRIPE):
            yield self._to_average(logits[..., top : top + _STRIPE, :], mirrored), size, top, 0

    def _windows(self, network: MemorySegmenter, images: Tensor, mirrored: bool, together: int) -> Iterator[_Part]:
        """Scores of a pass of windows, divided by the number of windows that see a pixel."""
        assert self.window is not None
        height, width = images.shape[-2:]
        down, across = (windows_along(side, window, self.overlap) for side, window in zip((height, width), self.window, strict=True))
        count = torch.outer(down.counts(), across.counts()).to(images.device)
        # The windows are laid on the mirror image, as in the released script.
        count, images = (count.flip(-1), images.flip(-1)) if mirrored else (count, images)
        places = [(top, left) for top in down.starts for left in across.starts]
        for first in range(0, len(places), together):
            batch = places[first : first + together]
            windows = torch.cat([images[..., top : top + down.window, left : left + across.window] for top, left in batch])
            logits = at_least_float32(network.segment(windows))
            for (top, left), part in zip(batch, logits.split(len(images)), strict=True):
                start = width - left - across.window if mirrored else left
                seen = count[top : top + down.window, start : start + across.window]
                yield self._to_average(part, mirrored).div_(seen), (height, width), top, start

    def _to_average(self, logits: Tensor, mirrored: bool) -> Tensor:
        """What is averaged of logits, the right way round; always a tensor of its own."""
        scores = logits.softmax(dim=1) if self.average == "probabilities" else logits.clone()
        return scores.flip(-1) if mirrored else scores


WHOLE = Protocol("whole")
"""One forward pass at native size; what validation uses, and what checkpoints that name no protocol were evaluated by."""


def _softmax_(logits: Tensor) -> Tensor:
    """Soft-max over the classes of `(B, K, H, W)`, in place and in stripes of rows."""
    for top in range(0, logits.shape[-2], _STRIPE):
        stripe = logits[..., top : top + _STRIPE, :]
        stripe.copy_(stripe.softmax(dim=1))
    return logits
