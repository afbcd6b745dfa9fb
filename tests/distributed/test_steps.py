"""Two ranks with half of the images each against one process with all of them, in float64: losses, gradients, memory, parameters."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pin_memory.memory import Classifier, LinearMemory, PrototypeMemory, RidgeMemory, TextPrototypes
from pin_memory.methods import MemoryStart, TextAlignmentLoss
from pin_memory.methods.batches import DomainBatch, merge
from pin_memory.networks import BackboneFeatures
from tests.helpers.agreement import ChannelsFlipped
from tests.helpers.stepping import (
    ByHand,
    ERMByHand,
    ERMMemoryByHand,
    MetaSegNetByHand,
    MetaSegNetDGByHand,
    MLDGByHand,
    PinTheMemoryByHand,
)
from tests.helpers.tiny import (
    WAY,
    TinyBackbone,
    few_shot_segmenter,
    ridge_segmenter,
    tiny_alignment,
    tiny_batch,
    tiny_episodes,
    tiny_segmenter,
)
from tests.helpers.tiny_vit import vit_segmenter
from tests.helpers.two_ranks import RANKS, on_two_ranks

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
_NAMES: dict[str, Any] = {}
exec(re.findall(r"# my_method.py\n(.*?)```", PAGE, re.DOTALL)[0], _NAMES)


class OfTheReadme(ByHand, _NAMES["WorstDomain"]):  # type: ignore[misc]
    """The method that docs/extend.md adds, without a Trainer."""


class WhitenedBackbone(TinyBackbone):
    """Standardises the low-level maps for the whitening loss."""

    whitens = True

    def forward(self, images: Tensor) -> BackboneFeatures:
        """The three taps, and what is whitened."""
        low = nn.functional.instance_norm(self.low(images))
        middle = self.middle(low)
        return BackboneFeatures(low, middle, self.deep(middle), (low,))


CASES: dict[str, tuple[type[ByHand], dict[str, Any]]] = {
    "erm": (ERMByHand, {}),
    "erm_memory": (ERMMemoryByHand, {}),
    "readme": (OfTheReadme, {}),
    "mldg": (MLDGByHand, {}),
    "mldg second order": (MLDGByHand, {"first_order": False}),
    "meta_seg_net_dg": (MetaSegNetDGByHand, {}),
    "meta_seg_net_dg on mixtures": (MetaSegNetDGByHand, {"train_statistics": "mixture"}),
    "pin_the_memory": (PinTheMemoryByHand, {}),
    "pin_the_memory second order": (PinTheMemoryByHand, {"first_order": False}),
    "pin_the_memory with text": (PinTheMemoryByHand, {"weights": {"structure": 0.5}}),
    "erm_memory with text": (ERMMemoryByHand, {"weights": {"structure": 0.5}}),
    "pin_the_memory with groups": (PinTheMemoryByHand, {"backbone_lr_factor": 0.3, "optimizer": partial(torch.optim.AdamW, lr=1e-3)}),
    "isw": (ERMByHand, {}),
    "isw with pin_the_memory": (PinTheMemoryByHand, {}),
    "ppar": (ERMByHand, {"alignment": TextAlignmentLoss(horizon=5)}),
    "ppar by class": (ERMByHand, {"alignment": TextAlignmentLoss(horizon=5, reweight="class")}),
    "ppar by image": (ERMByHand, {"alignment": TextAlignmentLoss(horizon=5, reweight="image", majority=0.6)}),
    "ppar by domain": (ERMByHand, {"alignment": TextAlignmentLoss(horizon=5, reweight="domain")}),
    "ppar with pin_the_memory": (PinTheMemoryByHand, {"alignment": TextAlignmentLoss(horizon=5), "first_order": False}),
    "ppar by domain with mldg": (MLDGByHand, {"alignment": TextAlignmentLoss(horizon=5, reweight="domain")}),
    "lora with pin_the_memory": (PinTheMemoryByHand, {"backbone_lr_factor": 0.3, "optimizer": partial(torch.optim.AdamW, lr=1e-3)}),
    "lora with mldg second order": (MLDGByHand, {"first_order": False}),
    "ppar with meta_seg_net_dg": (MetaSegNetDGByHand, {"alignment": TextAlignmentLoss(horizon=5, reweight="domain")}),
}
ITERATIONS = 5


def batches() -> list[DomainBatch]:
    """Iterations of four images per domain; the first half has far fewer labelled pixels, and some classes in one half only."""
    made = []
    for shift in range(ITERATIONS):
        batch = tiny_batch(images=4)
        for number, part in enumerate(batch.values()):
            part["image"] = part["image"].double() + shift
            part["label"][0, :10] = 255
            part["label"][:2][part["label"][:2] == number] = 255
        made.append(batch)
    return made


def half(batch: DomainBatch, rank: int) -> DomainBatch:
    """The images of a rank."""
    images = slice(2 * rank, 2 * rank + 2)
    return {name: {key: value[images] for key, value in part.items()} for name, part in batch.items()}


def trained(case: str, steps: list[DomainBatch]) -> dict[str, Tensor]:
    """Everything a method has learned in a few steps, and the losses and gradients of each.

    Batch norm goes by its running statistics, as each rank would have its own on CPUs.
    """
    kind, options = CASES[case]
    parts: dict[str, Any] = {"alignment": tiny_alignment()} if "alignment" in options else {}
    if "text" in case:
        options = options | {"start": MemoryStart("blend", TextPrototypes(num_classes=4, dim=7, rows="random"))}
        parts = {"anchor_weight": 0.1}
    network = ridge_segmenter(**parts) if "meta_seg" in case else tiny_segmenter(memory="memory" in case, **parts)
    if "lora" in case:
        network = vit_segmenter("categorical" if "memory" in case else None)
    if "isw" in case:
        network.backbone = WhitenedBackbone()
        options = options | {"whitening": ChannelsFlipped(images=len(steps) * 12)}
    method = kind(network.double(), **{"optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9), **options}).prepare().eval()
    if method.whitening is not None:
        method.whitening.choose(network, [[merge(batch).images for batch in steps]], sources=3)
        assert all(mask.any() for mask in method.whitening.masks)
    found = {}
    if "text" in case:
        method.initialise_memory(steps)
    for number, batch in enumerate(steps):
        method.training_step(batch, 0)
        found |= {f"loss {name} of step {number}": torch.tensor(value, dtype=torch.float64) for name, value in method.terms.items()}
        found |= {f"gradient of {name} of step {number}": value for name, value in method.gradients.items()}
    return found | {name: value.detach().clone() for name, value in method.state_dict().items()}


def on_a_rank(rank: int, case: str) -> dict[str, Tensor]:
    """`trained` with the share of a rank."""
    return trained(case, [half(batch, rank) for batch in batches()])


@pytest.mark.parametrize("case", CASES)
def test_two_ranks_take_the_steps_of_one_process(case: str) -> None:
    """Losses (their mean over the ranks), gradients, and after five steps parameters, memory, masks and images seen."""
    alone, (first, second) = trained(case, batches()), on_two_ranks(on_a_rank, case)
    assert first.keys() == second.keys() == alone.keys()
    for name, value in alone.items():
        if name.startswith("loss"):
            found = (first[name] + second[name]) / RANKS
        else:
            assert torch.equal(first[name], second[name]), f"{name} is not bitwise equal on the ranks"
            found = first[name]
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
    assert alone["images_seen"] == ITERATIONS * 12
    assert sum(name.startswith("loss") for name in alone) >= ITERATIONS * 2


def few_shot(rank: int | None, head: type[Classifier]) -> dict[str, Tensor]:
    """As `trained`, on two episodes of six images a step or on that of a rank; the first has far fewer labelled query pixels."""
    method = MetaSegNetByHand(few_shot_segmenter(head).double(), partial(torch.optim.SGD, lr=0.05, momentum=0.9), way=WAY).prepare().eval()
    own, found = slice(None) if rank is None else slice(rank, rank + 1), {}
    for number in range(ITERATIONS):
        batch = tiny_episodes(2, seed=number)
        batch["query"]["label"][0, :, :13] = 255
        parts = {part: {key: value[own] for key, value in batch[part].items()} for part in ("support", "query")}
        method.training_step(parts | {key: batch[key][own] for key in ("classes", "name")}, 0)
        found[f"loss of step {number}"] = torch.tensor(method.terms["total"], dtype=torch.float64)
        found |= {f"gradient of {name} of step {number}": value for name, value in method.gradients.items()}
    return found | {name: value.detach().clone() for name, value in method.state_dict().items()}


@pytest.mark.parametrize("head", [RidgeMemory, PrototypeMemory, LinearMemory])
def test_two_ranks_with_an_episode_each_take_the_steps_of_one_process(head: type[Classifier]) -> None:
    """The loss is over the labelled query pixels of all episodes; a head is that of its own episode."""
    alone, (first, second) = few_shot(None, head), on_two_ranks(few_shot, head)
    for name, value in alone.items():
        found = (first[name] + second[name]) / RANKS if name.startswith("loss") else first[name]
        assert name.startswith("loss") or torch.equal(first[name], second[name]), f"{name} is not bitwise equal on the ranks"
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")
    assert alone["images_seen"] == ITERATIONS * 12
    assert any(name.startswith("gradient of memory.log_lambda") for name in alone) == (head is RidgeMemory)
    assert first["loss of step 0"] != second["loss of step 0"]


def freezing(rank: int, steps: int) -> dict[str, Tensor]:
    """Running statistics after steps in training mode, of which the third and later ones leave them."""
    method = ERMByHand(tiny_segmenter(memory=False), partial(torch.optim.SGD, lr=0.05), freeze_statistics_after=2).prepare().train()
    for number, batch in enumerate(batches()[:steps]):
        own = {name: part | {"image": part["image"].float()} for name, part in half(batch, rank).items()}
        method.on_train_batch_start(own, number)
        method.training_step(own, number)
    return {name: value.clone() for name, value in method.network.backbone.named_buffers() if "running" in name}


def test_statistics_that_freeze_are_those_of_the_first_rank_everywhere() -> None:
    before, after = on_two_ranks(freezing, 2), on_two_ranks(freezing, 4)
    assert before[0]
    for name, value in before[0].items():
        assert not torch.equal(value, before[1][name]), name
        assert torch.equal(after[0][name], value), name
        assert torch.equal(after[1][name], value), name


def initialised(rank: int) -> Tensor:
    """The memory from the images of a rank."""
    method = PinTheMemoryByHand(tiny_segmenter().double(), partial(torch.optim.SGD, lr=0.05)).prepare()
    assert isinstance(method, PinTheMemoryByHand)
    method.initialise_memory(half(batch, rank) for batch in batches())
    return method.memory.items


def test_the_memory_is_initialised_from_all_images() -> None:
    """The sums are added over the ranks before they are normalised."""
    method = PinTheMemoryByHand(tiny_segmenter().double(), partial(torch.optim.SGD, lr=0.05)).prepare()
    assert isinstance(method, PinTheMemoryByHand)
    method.initialise_memory(batches())
    first, second = on_two_ranks(initialised)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, method.memory.items, rtol=1e-10, atol=1e-12)


def head(rank: int | None = None) -> Tensor:
    """The head solved on the images of a rank, or on all."""
    method = MetaSegNetDGByHand(ridge_segmenter().double(), partial(torch.optim.SGD, lr=0.05)).prepare()
    assert isinstance(method, MetaSegNetDGByHand)
    method.source_batches = lambda number: iter(batches() if rank is None else [half(batch, rank) for batch in batches()])  # type: ignore
    method.solve_on_sources()
    return method.memory.items


def test_the_head_is_solved_on_the_images_of_all_ranks() -> None:
    """Moments are added over the ranks before the system is solved."""
    first, second = on_two_ranks(head)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, head(), rtol=1e-9, atol=1e-12)


def failing(rank: int) -> None:
    """A function that fails on one rank."""
    if rank == 1:
        raise ValueError("broken here")


def test_a_failure_on_a_rank_fails_the_test() -> None:
    """Of the helper that all tests here stand on; it works on afterwards."""
    with pytest.raises(RuntimeError, match=r"rank 1: (.|\n)*broken here") as failure:
        on_two_ranks(failing)
    assert "rank 0" not in str(failure.value)


def lossy(rank: int) -> float:
    """The loss of a rank whose half has no labelled pixel, if it is the second."""
    part = half(batches()[0], rank)
    if rank == 1:
        for domain in part.values():
            domain["label"].fill_(255)
    method = ERMByHand(tiny_segmenter(memory=False).double(), partial(torch.optim.SGD, lr=0.05)).prepare().eval()
    images, labels, _ = merge(part)
    encoding = method.network.encode(images)
    return float(method.segmentation_loss(method.network.read(encoding.features), encoding, labels).detach())


def test_a_rank_without_labels_contributes_nothing() -> None:
    """Its loss is 0, and the mean of both ranks' losses is the mean over the labelled pixels."""
    first, second = on_two_ranks(lossy)
    assert second == 0
    method = ERMByHand(tiny_segmenter(memory=False).double(), partial(torch.optim.SGD, lr=0.05)).prepare().eval()
    images, labels, _ = merge(half(batches()[0], 0))
    encoding = method.network.encode(images)
    alone = float(method.segmentation_loss(method.network.read(encoding.features), encoding, labels).detach())
    assert first / RANKS == pytest.approx(alone, rel=1e-12)
