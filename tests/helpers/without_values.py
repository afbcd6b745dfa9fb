"""Methods on PyTorch's meta device, which has shapes but no values: what runs there neither needs a value on the host nor a real GPU."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pin_memory.methods import ERM, MLDG, ERMMemory, MetaSegNetDG, PinTheMemory, TextAlignmentLoss
from pin_memory.methods.batches import DomainSplit
from pin_memory.methods.finite import FiniteCheck, Found
from pin_memory.methods.meta_learning import SplitSources
from pin_memory.methods.whitening import InstanceSelectiveWhitening
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from tests.helpers.stepping import WithoutTrainer
from tests.helpers.tiny import ridge_segmenter, tiny_alignment, tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)
ALL = [ERM, ERMMemory, MLDG, MetaSegNetDG, PinTheMemory, partial(PinTheMemory, first_order=False)]
"""All kinds of steps."""


def without_values(
    kind: Any, whitening: bool, monkeypatch: pytest.MonkeyPatch, aligned: bool = False
) -> tuple[Any, dict[str, dict[str, Any]]]:
    """A method that has made its first step, without a Trainer, and a batch; it takes all numbers for finite.

    Args:
        kind: One of `ALL`.
        whitening: On a ResNet with instance norms and RobustNet's loss; otherwise on a tiny network.
        monkeypatch: Takes away what knows real devices only.
        aligned: With text to align with, and domains reweighted.
    """
    base, settings = getattr(kind, "func", kind), dict(getattr(kind, "keywords", {}))
    parts = {"alignment": tiny_alignment()} if aligned else {}
    plain = ridge_segmenter(**parts) if base is MetaSegNetDG else tiny_segmenter(memory=issubclass(base, ERMMemory | PinTheMemory), **parts)
    if aligned:
        settings["alignment"] = TextAlignmentLoss(reweight="domain", horizon=4)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr(FiniteCheck, "check", lambda *_: Found())  # the one number that is read
    monkeypatch.setattr(base, "log", lambda *_, **__: None)
    monkeypatch.setattr(base, "log_dict", lambda *_, **__: None)
    if issubclass(base, SplitSources):
        settings["split"] = DomainSplit(meta_test=["c"])
    with torch.device("meta"):
        network = whitened(plain) if whitening else plain.to("meta")
        loss = chosen_whitening() if whitening else None
        method: Any = type("Here", (WithoutTrainer, base), {})(network, SGD, gradient_clip=1.0, whitening=loss, **settings)
    method.prepare().train()
    for parameter in network.parameters():
        method.optimizers().state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    batch = {name: {key: there(value) for key, value in part.items()} for name, part in tiny_batch(images=2, side=64).items()}
    return method, batch


def there(value: Any) -> Any:
    """A tensor on the device without values; anything else as it is."""
    return value.to("meta") if isinstance(value, Tensor) else value


def whitened(plain: MemorySegmenter) -> MemorySegmenter:
    """A network with the memory of another, and instance norms whose maps are whitened."""
    decoder = type(plain.decoder)
    store = None if plain.memory is None else plain.memory.to("meta")
    return MemorySegmenter(ResNetBackbone(18, instance_norm="isw"), 4, 6, store, auxiliary_channels=8, decoder=decoder)


def chosen_whitening() -> InstanceSelectiveWhitening:
    """A whitening loss that knows what to whiten."""
    whitening = InstanceSelectiveWhitening()
    for place, channels in enumerate((64, 64, 128)):
        whitening.register_buffer(f"mask{place}", torch.ones(channels, channels, dtype=torch.bool))
    return whitening
