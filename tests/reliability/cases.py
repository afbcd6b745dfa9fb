"""What a damaged input is, and the originals that it is made from."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

VALID, SKIPPED = "valid result", "skipped and counted"
TOLD = "left out, and said there"
Make = Callable[[Path, random.Random, "Originals"], tuple[Callable[[], str], bool]]


@dataclass(frozen=True)
class Originals:
    """Whole inputs.

    Attributes:
        run: The folder of a training run.
        exported: `FILE.safetensors` with its settings next to it.
    """

    run: Path
    exported: Path

    @property
    def checkpoint(self) -> Path:
        """The last one of the run."""
        return self.run / "checkpoints" / "last.ckpt"

    @property
    def data(self) -> Path:
        """The stand-ins that the run was trained on."""
        return self.run.parents[1] / "stand_ins"


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Attributes:
        kind: Row of the table.
        number: Within its kind; the seed.
        damage: What is done to it.
        make: Makes it in a folder, from a seeded generator and the originals; returns what reads it and how it came out, and whether it
            must not pass for intact.
    """

    kind: str
    number: int
    damage: str
    make: Make

    @property
    def name(self) -> str:
        """For the test's name."""
        return f"{self.kind}-{self.damage}-{self.number}".replace(" ", "_")
