"""Which source domains play meta-train and which meta-test in an iteration."""

from collections.abc import Sequence

import torch

from pin_memory.utils.errors import ConfigurationError


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
