"""Methods on a tiny vision transformer: they step, cells and labels stay together, and what is meant for batch norm is refused."""

import copy
import logging
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer

from pin_memory.inference import BatchNormStatistics
from pin_memory.memory import RidgeMemory
from pin_memory.methods import ERM, MLDG, PPAR, TextAlignmentLoss
from pin_memory.methods.batches import merge
from pin_memory.methods.fast_weights import FastWeights
from pin_memory.networks import MemorySegmenter, ScoreDecoder
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.labels import IGNORE
from tests.helpers.stepping import ByHand, ERMByHand, ERMMemoryByHand, MetaSegNetDGByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_alignment, tiny_batch
from tests.helpers.vit_networks import vit_segmenter

SGD = partial(torch.optim.SGD, lr=0.01)
SIDE, PADDED = 45, 48
Batch = dict[str, dict[str, Any]]


class PPARByHand(ByHand, PPAR):
    """PPAR without a Trainer."""


METHODS: dict[str, Any] = {
    "erm": (ERMByHand, {"memory": None}),
    "erm_memory": (ERMMemoryByHand, {}),
    "mldg": (MLDGByHand, {"memory": None}),
    "pin_the_memory": (PinTheMemoryByHand, {}),
    "meta_seg_net_dg": (MetaSegNetDGByHand, {"memory": "ridge", "parts": {"decoder": ScoreDecoder}}),
    "ppar": (
        partial(PPARByHand, alignment=TextAlignmentLoss(first_share=1.0, ramp=(0.0, 0.0), majority=0.6)),
        {"memory": None, "parts": {"alignment": tiny_alignment(dropout=0.0)}},
    ),
}


def method(name: str, parts: dict[str, Any] | None = None, **options: Any) -> ByHand:
    """A method on a network of four classes in float64, in training mode."""
    kind, own = METHODS[name]
    own = own | {"memory": RidgeMemory(4, 8) if own.get("memory") == "ridge" else own.get("memory", "categorical")}
    own = own | {"parts": own.get("parts", {}) | (parts or {})}
    made = kind(vit_segmenter(classes=4, **{"patch_size": 16, **own, **options}).double(), SGD)
    made.prepare().train()
    return made


def batch(side: int = SIDE) -> Batch:
    """Random images of three domains, in float64."""
    return {name: part | {"image": part["image"].double()} for name, part in tiny_batch(images=2, side=side).items()}


def padded(given: Batch) -> Batch:
    """The same with zeros and ignored pixels to the right and below, up to whole patches."""
    edge = (0, PADDED - SIDE, 0, PADDED - SIDE)
    parts = {name: {"image": F.pad(p["image"], edge), "label": F.pad(p["label"], edge, value=IGNORE)} for name, p in given.items()}
    return {name: given[name] | part for name, part in parts.items()}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_steps_with_cells_and_labels_together(name: str) -> None:
    """A step on images of 45 pixels is that on images padded to 48: logits, auxiliary maps, writes, heads and alignment fit the labels."""
    found, expected = method(name), method(name)
    before = {key: value.clone() for key, value in found.network.named_parameters()}
    found.training_step(batch(), 0)
    expected.training_step(padded(batch()), 0)
    torch.testing.assert_close(found.terms, expected.terms, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.gradients, expected.gradients, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(dict(found.state_dict()), dict(expected.state_dict()), rtol=1e-8, atol=1e-12)
    moved = {key for key, value in found.network.named_parameters() if not torch.equal(value, before[key])}
    assert {"backbone.net.patch_embed.proj.weight", "backbone.net.blocks.3.attn.qkv.weight", "backbone.net.norm.weight"} <= moved


@pytest.mark.parametrize("option", ["checkpointing", pytest.param("compile", marks=pytest.mark.slow)])
def test_options_change_no_gradient(option: str) -> None:
    """Activations are computed again with the fast weights of their own pass; so runs what a compiler traces."""
    plain = method("pin_the_memory")
    compiled = {"parts": {"compile": "aot_eager"}}
    other = method("pin_the_memory", **({"checkpointing": True} if option == "checkpointing" else compiled))
    for made in (plain, other):
        made.training_step(batch(), 0)
    torch.testing.assert_close(other.gradients, plain.gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("vit", ["vit_nano_patch14_dinov2", "vit_nano_patch16_dinov3_qkvb"])
def test_second_order_without_fused_attention_equals_finite_differences(vit: str) -> None:
    """Central differences of L_in(Θ) + L_out(Θ - α ∇L_in(Θ)) along a random direction."""
    alpha, parts = 0.1, batch(32)
    network = vit_segmenter(vit, memory=None, classes=4, fused_attention=False).double()
    made = MLDGByHand(network, SGD, first_order=False).prepare()
    assert isinstance(made, MLDGByHand)
    train, test = merge(parts, ["a"]), merge(parts, ["b"])

    def inner_of(values: MemorySegmenter) -> torch.Tensor:
        made.network = values
        return made.loss(train, made.run_stage, "inner_")

    fast = FastWeights.after_step(network, inner_of(network), alpha, first_order=False)
    found = fast.total_gradients(made.loss(test, fast.call, "outer_"))
    start = {key: value.detach().clone() for key, value in network.named_parameters()}

    def objective(values: dict[str, torch.Tensor]) -> float:
        moved = copy.deepcopy(network)
        moved.load_state_dict(values, strict=False)
        inner = inner_of(moved)
        stepped = FastWeights.after_step(moved, inner, alpha)
        return float((inner + made.loss(test, stepped.call, "outer_")).detach())

    generator = torch.Generator().manual_seed(1)
    direction = {key: torch.randn(value.shape, generator=generator, dtype=torch.float64) for key, value in start.items()}
    ahead, behind = ({key: value + sign * 1e-6 * direction[key] for key, value in start.items()} for sign in (1, -1))
    analytic = float(sum((found[key] * direction[key]).sum() for key in start))
    assert analytic == pytest.approx((objective(ahead) - objective(behind)) / 2e-6, rel=1e-5)


def test_second_order_through_fused_attention_is_refused() -> None:
    """Before anything is launched; the message says what to set."""
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, max_steps=1)
    MLDG(vit_segmenter(memory=None), SGD, first_order=True).check_trainer(trainer)
    MLDG(vit_segmenter(memory=None, fused_attention=False), SGD, first_order=False).check_trainer(trainer)
    with pytest.raises(ConfigurationError, match=r"network\.backbone\.fused_attention=false"):
        MLDG(vit_segmenter(memory=None), SGD, first_order=False).check_trainer(trainer)


def test_policies_of_batch_norm_are_refused_where_there_is_none() -> None:
    """A frozen one in the backbone, mixtures and the statistics of tests in the network; a memory has batch norms of its own."""
    plain = vit_segmenter(memory=None)
    with pytest.raises(ConfigurationError, match=r"train_statistics=frozen: the backbone has no batch norm"):
        ERM(plain, SGD, train_statistics="frozen")
    with pytest.raises(ConfigurationError, match=r"train_statistics=mixture: this network has no batch norm"):
        MLDG(plain, SGD, train_statistics="mixture")
    with pytest.raises(ConfigurationError, match=r"test_statistics=image: this network has no batch norm"):
        ERM(plain, SGD, test_statistics=BatchNormStatistics("image"))
    with pytest.raises(ConfigurationError, match="this network has no batch norm"), BatchNormStatistics("batch").applied(plain):
        pass
    PinTheMemoryByHand(vit_segmenter(), SGD, train_statistics="mixture", test_statistics=BatchNormStatistics("image"))


@pytest.mark.parametrize(
    ("factor", "options", "warned"), [(1.0, {}, True), (0.1, {}, False), (1.0, {"freeze": "all"}, False), (1.0, {"freeze": "stem"}, True)]
)
def test_a_transformer_at_the_rate_of_the_heads_causes_a_warning(
    factor: float, options: dict[str, Any], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Not where it is slower, most of it is frozen, or it starts from random weights."""
    network: Any = vit_segmenter(memory=None, **options)
    for network.backbone.pretrained in (True, False):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            ERM(network, SGD, backbone_lr_factor=factor).configure_optimizers()
        told = any("backbone_lr_factor=0.1" in message for message in caplog.messages)
        assert told == (warned and network.backbone.pretrained)
