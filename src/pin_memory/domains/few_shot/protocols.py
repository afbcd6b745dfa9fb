"""Evaluation protocols of few-shot segmentation as tables of settings: those of three published code bases, and this library's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Queries = Literal["one", "per_class", "both_present", "any"]
"""Which images are queried: "one" that shows one of the episode's classes, which is drawn; "per_class": one for each class; "both_present":
one that shows all of them; "any": one that shows any class of the side, which is a class of the episode with weight 1/2 (iFSL)."""

SupportLabels = Literal["all", "own", "own_else_ignored"]
"""What a support image's label holds: "all" classes of the episode; its "own" class, all else being background; or its own class, the other
classes of the episode being ignored."""


@dataclass(frozen=True)
class Protocol:
    """How episodes are drawn and labelled.

    Attributes:
        support_labels: What the labels of support images hold, in training, too.
        train_queries: The queries of training episodes.
        queries: The queries of validation and test episodes.
        test_images: The split of the sources that test episodes are drawn from.
        in_turn: Whether the queries of a test walk over all pairs of a class and an image that shows it, where these are no more than the
            episodes; otherwise classes are drawn, and then images.
        min_pixels: Pixels of a class with which an image shows it.
        seeds: Of the test; each gives as many episodes as are asked for.
    """

    support_labels: SupportLabels = "all"
    train_queries: Queries = "one"
    queries: Queries = "one"
    test_images: Literal["train", "val"] = "val"
    in_turn: bool = False
    min_pixels: int = 1
    seeds: tuple[int, ...] = (0,)


PROTOCOLS: Mapping[str, Protocol] = {
    "ours": Protocol(train_queries="per_class", min_pixels=1024, seeds=(0, 1, 2, 3, 4)),
    "panet": Protocol("own_else_ignored", test_images="train", seeds=(1234, 1235, 1236, 1237, 1238)),
    "hsnet": Protocol("own", in_turn=True),
    "ifsl": Protocol("own", queries="any"),
}
"""All protocols by name, as far as the published code tells; which false positives count is the metric's choice."""
