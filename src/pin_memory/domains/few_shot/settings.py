"""How episodes are made: the settings of few-shot segmentation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from pin_memory.domains.few_shot.protocols import PROTOCOLS, Protocol, Queries
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Count, validated

_Side = Annotated[int, Field(ge=1, le=16_384)]


@validated("data")
@dataclass(frozen=True)
class EpisodeSettings:
    """How episodes are made.

    Attributes:
        folds: Name of the published folds, or the names of the classes of each fold (`folds.fold_lists`).
        fold: The fold whose classes are tested and never trained on, counted from 0.
        way: Classes of an episode, K.
        shot: Support images of each class.
        queries: Queries of validation and test episodes; None for the protocol's.
        protocol: How episodes are drawn and labelled (`protocols.PROTOCOLS`).
        episodes: Episodes of a test for each seed.
        test_images: The split of the sources that test episodes are drawn from; None for the protocol's.
        seeds: Of the test; None for the protocol's.
        val_episodes: Episodes of a validation, always the same ones.
        val_classes: Training classes that are held out for validation, drawn by `loading.seed`; with 0, validation episodes show the
            training classes on validation images.
        test_fold_pixels: What pixels of classes that are not trained on are in training and validation: "background" or "ignore".
        min_pixels: Pixels of a class with which an image shows it; None for the protocol's.
        size: (height, width) of the whole images of validation and test; None for the size of the training crops.

    Raises:
        ConfigurationError: A value is out of its range, or there is no such protocol.
    """

    folds: str | Sequence[str | Sequence[str]] = "pascal_5i"
    fold: Annotated[int, Field(ge=0)] = 0
    way: Annotated[int, Field(ge=1, le=254)] = 1
    shot: Count = 1
    queries: Queries | None = None
    protocol: str = "ours"
    episodes: Count = 1000
    test_images: Literal["train", "val", "test"] | None = None
    seeds: Sequence[Annotated[int, Field(ge=0, lt=2**64)]] | None = None
    val_episodes: Count = 200
    val_classes: Annotated[int, Field(ge=0)] = 0
    test_fold_pixels: Literal["background", "ignore"] = "background"
    min_pixels: Count | None = None
    size: _Side | Sequence[_Side] | None = None

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise ConfigurationError(f"data.protocol={self.protocol}: expected one of {', '.join(PROTOCOLS)}.")
        if self.seeds is not None and len(set(self.seeds)) < max(1, len(self.seeds)):
            raise ConfigurationError(f"data.seeds={list(self.seeds)}: expected at least one, and none twice.")
        if not isinstance(self.size, int | None) and len(self.size) != 2:
            raise ConfigurationError(f"data.size={list(self.size)}: expected a side, or height and width.")

    @property
    def rules(self) -> Protocol:
        """The protocol's settings."""
        return PROTOCOLS[self.protocol]

    @property
    def shown_from(self) -> int:
        """Pixels of a class with which an image shows it."""
        return self.rules.min_pixels if self.min_pixels is None else self.min_pixels

    @property
    def tested_split(self) -> str:
        """The split of the sources that test episodes are drawn from."""
        return self.test_images or self.rules.test_images

    @property
    def test_seeds(self) -> tuple[int, ...]:
        """The seeds of the test."""
        return self.rules.seeds if self.seeds is None else tuple(self.seeds)
