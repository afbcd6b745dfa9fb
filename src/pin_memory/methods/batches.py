"""A training batch holds one mini-batch per source domain; methods split it by the names of domains, never by slicing a tensor."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pin_memory.utils.errors import ConfigurationError

DomainBatch = dict[str, dict[str, Any]]
"""`{domain: {"image": (B, 3, H, W), "label": (B, H, W), "name": [...]}}`."""


Randomisation = Callable[[Tensor, Sequence[str]], Tensor]
"""Other images for normalised ones `(B, 3, H, W)` of domains with these names, of the same shape."""


class Labelled(NamedTuple):
    """Images `(B, 3, H, W)`, their labels `(B, H, W)`, and the domain's name of each image; empty where it has no say in a loss."""

    images: Tensor
    labels: Tensor
    domains: tuple[str, ...] = ()


def merge(batch: DomainBatch, domains: Iterable[str] | None = None) -> Labelled:
    """Concatenate the mini-batches of `domains` (all by default)."""
    chosen = {name: batch[name] for name in (batch if domains is None else domains)}
    names = tuple(name for name, part in chosen.items() for _ in range(len(part["label"])))
    return Labelled(torch.cat([part["image"] for part in chosen.values()]), torch.cat([part["label"] for part in chosen.values()]), names)


@torch.no_grad()
def randomise(parts: DomainBatch, randomisation: Randomisation) -> None:
    """Replace the images `(..., 3, H, W)` of the parts of a training batch, all of one size; labels stay as they are."""
    if not parts:
        return
    images = {name: part["image"].flatten(end_dim=-4) for name, part in parts.items()}
    names = [name for name, own in images.items() for _ in own]
    changed = randomisation(torch.cat(list(images.values())), names).split([len(own) for own in images.values()])
    for part, own in zip(parts.values(), changed, strict=True):
        part["image"] = own.view_as(part["image"])


class DomainSplit:
    """Random split of the source domains: a random permutation cut at a random place, both sides non-empty.

    The split is a function of seed and iteration, so every rank and every resumed run makes the same one.

    Args:
        seed: Seed of the splits.
        meta_test: Names that are always the meta-test side, for a source listed twice with a harder augmentation on the copy (single
            source); None splits at random.
    """

    def __init__(self, seed: int = 304, meta_test: str | Sequence[str] | None = None) -> None:
        self.seed = seed
        self.meta_test = [meta_test] if isinstance(meta_test, str) else list(meta_test) if meta_test else None

    def __call__(self, domains: Sequence[str], iteration: int) -> tuple[list[str], list[str]]:
        """Names of the meta-train and of the meta-test domains in `iteration`."""
        if self.meta_test is not None:
            return [name for name in domains if name not in self.meta_test], list(self.meta_test)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + iteration)
        order = [domains[i] for i in torch.randperm(len(domains), generator=generator).tolist()]
        cut = int(torch.randint(1, len(domains), (), generator=generator))
        return order[:cut], order[cut:]

    def check(self, domains: Sequence[str]) -> None:
        """Refuse fewer than two sources, and fixed meta-test names that are unknown or leave no meta-train domain."""
        if len(domains) < 2:
            raise ConfigurationError(
                f"A meta-learning method splits its source domains into meta-train and meta-test and needs at least two; found"
                f" {len(domains)}: {', '.join(domains) or 'none'}.\n"
                "Add a source (e.g. +domain@data.sources.synthia=synthia), list the one data set twice with a harder augmentation as"
                " experiment=single_source_g does, or train without meta-learning (method=erm)."
            )
        if self.meta_test is not None and (set(self.meta_test) - set(domains) or set(domains) <= set(self.meta_test)):
            raise ConfigurationError(
                f"split.meta_test={self.meta_test} must name some, not all, of the sources {list(domains)}."
                " Correct the names or set it to null for a random split."
            )


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Put `module` in eval mode, and every submodule back to what it was afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for m, training in modes:
            m.training = training
