"""What a categorical memory begins with: the features of the sources, the embeddings of the class names, or both (ours)."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from pin_memory.memory import TextPrototypes
from pin_memory.memory.geometry import isometry, procrustes
from pin_memory.memory.operations import unit
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Share, validated


@validated("method.start")
class MemoryStart:
    """Chooses the first items of a memory.

    Args:
        kind: "features", the mean feature of each class, as published; "text", text in a random frame, which takes no pass over the
            sources; "procrustes", text rotated as near to the mean features as it gets; "blend", a mean of the mean features and of that.
        text: The embeddings of the class names; with "features" for the anchor alone.
        blend: β, the share of text in "blend"; a class that no source shows has its text alone.
        seed: Of the random frame of "text".

    Raises:
        ConfigurationError: Text is missing.
    """

    def __init__(
        self,
        kind: Literal["features", "text", "procrustes", "blend"] = "features",
        text: TextPrototypes | None = None,
        blend: Share = 0.5,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        if text is None and kind != "features":
            raise ConfigurationError(f"method.start.kind={kind} needs text: choose the start with +memory_start={kind} text.path=FILE.")
        self.kind, self.text, self.blend, self.seed = kind, text, blend, seed

    @property
    def asks_the_sources(self) -> bool:
        """Whether it takes the mean features of the classes."""
        return self.kind != "text"

    def items(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """The first items, and text in their frame to anchor them to.

        Args:
            features: Mean features of the classes, `(K, C)`, unit rows; zero where no source shows a class.

        Returns:
            Two times `(K, C)` with unit rows; without text the features, and None.
        """
        if self.text is None:
            return features, None
        rows = self.text.rows
        if not rows.any():
            raise ConfigurationError("text.rows=checkpoint: this is a new run, and no checkpoint has brought a memory. Set text.rows=file.")
        turned = procrustes(rows, features) if self.asks_the_sources else isometry(rows, features.shape[1], self.seed)
        turned = turned.to(features)
        if self.kind != "blend":
            return features if self.kind == "features" else turned, turned
        share = torch.where(features.any(dim=1, keepdim=True), self.blend, 1.0).to(features)
        return unit((1 - share) * features + share * turned), turned
