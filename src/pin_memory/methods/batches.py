"""A training batch holds one mini-batch per source domain; methods pick domains by name, never by slicing a tensor."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

DomainBatch = dict[str, dict[str, Any]]
"""`{domain: {"image": (B, 3, H, W), "label": (B, H, W), "name": [...]}}`."""


class Labelled(NamedTuple):
    """Images `(B, 3, H, W)` and their labels `(B, H, W)`."""

    images: Tensor
    labels: Tensor


def merge(batch: DomainBatch, domains: Iterable[str] | None = None) -> Labelled:
    """Concatenate the mini-batches of `domains` (all by default)."""
    chosen = [batch[name] for name in (batch if domains is None else domains)]
    return Labelled(torch.cat([part["image"] for part in chosen]), torch.cat([part["label"] for part in chosen]))


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
