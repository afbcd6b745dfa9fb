"""Graphs of every architecture compute what the network computes, at any size, or are not written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.exporting import formats
from pin_memory.exporting.formats import Comparison
from pin_memory.exporting.graph import InferenceGraph, check_exportable, require
from pin_memory.inference import RUNNING, BatchNormStatistics
from pin_memory.memory import CategoricalMemory, Memory, PrototypeMemory
from pin_memory.networks import MemorySegmenter, PlainDecoder, ResNetBackbone, ScoreDecoder, SummedASPP, TimmBackbone
from pin_memory.utils.errors import ConfigurationError, OutputError
from tests.helpers.exported import logits_of, pictures, session
from tests.helpers.vit_networks import vit_segmenter

TIMM = ("tf_efficientnet_lite0", "convnext_atto")  # padding that depends on the size; no batch norm


def network_of(kind: str) -> MemorySegmenter:
    """Small networks of every architecture, with statistics and a memory that are not those of a fresh one."""
    torch.manual_seed(3)
    memory: Memory | None = None if kind == "isw" else PrototypeMemory(5, 8) if kind == "prototype" else CategoricalMemory(5, 8)
    if kind == "deeplab_v2":
        parts: dict[str, Any] = {"pyramid": SummedASPP, "decoder": PlainDecoder}
        network = MemorySegmenter(ResNetBackbone(18, 8, stride_in_1x1=True), 5, 8, memory, 8, **parts)
    elif kind == "prototype":
        network = MemorySegmenter(ResNetBackbone(18, 32), 5, 8, memory, None, decoder=ScoreDecoder)
    elif kind in TIMM:
        network = MemorySegmenter(TimmBackbone(kind), 5, 8, memory, 8)
    else:
        norm = kind if kind in ("ibn", "isw") else "none"
        network = MemorySegmenter(ResNetBackbone(18, 32, instance_norm=norm), 5, 8, memory, 8)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    if memory is not None:
        memory.commit(torch.nn.functional.normalize(torch.randn(5, 8), dim=1))
    return network.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        "deeplab_v3plus",
        "deeplab_v2",
        "isw",
        "prototype",
        "convnext_atto",
        pytest.param("tf_efficientnet_lite0", marks=pytest.mark.reliability),
    ],
)
def test_every_architecture_as_onnx(kind: str, tmp_path: Path) -> None:
    network = network_of(kind)
    found = formats.write_onnx(tmp_path / "x.onnx", network, {}, True, 18, Comparison([(1, 64, 96), (2, 83, 141), (1, 97, 40)], 1e-4))
    images = pictures(1, 71, 90)
    (again,) = session(tmp_path / "x.onnx").run(None, {"images": images})
    assert max(*found.values(), np.abs(again - logits_of(network, images)).max()) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "form"),
    [
        ("vit_nano_patch14_dinov2", {"patch_size": 16}, "onnx"),
        ("vit_nano_patch16_dinov3_qkvb", {}, "onnx"),
        ("vit_nano_patch16_dinov3", {}, "torch_export"),
        pytest.param("eva02_nano_patch14_56", {}, "onnx", marks=pytest.mark.reliability),
        pytest.param("vit_nano_patch16_clip_64", {}, "torch_export", marks=pytest.mark.reliability),
    ],
)
def test_vision_transformers_at_any_size(name: str, options: dict[str, Any], form: str, tmp_path: Path) -> None:
    """In whole patches and not, smaller and larger than what was traced: positions and padding follow."""
    network, comparison = vit_segmenter(name, "fusion", **options), Comparison([(1, 64, 96), (2, 97, 131), (1, 200, 150)], 1e-4)
    if form == "onnx":
        formats.write_onnx(tmp_path / "x.onnx", network, {}, True, 18, comparison)
        images = pictures(1, 71, 170)
        (again,) = session(tmp_path / "x.onnx").run(None, {"images": images})
        np.testing.assert_allclose(again, logits_of(network, images), rtol=0, atol=1e-4)
    else:
        formats.write_torch_export(tmp_path / "x.pt2", network, {}, True, comparison)


@pytest.mark.reliability  # at fewer sizes, tests/commands/test_few_shot.py exports it
def test_padding_that_depends_on_the_size_in_torch_export(tmp_path: Path) -> None:
    """Of the demo's backbone, at even and odd sizes; also the one that is saved is loaded for the comparison."""
    comparison = Comparison([(1, 64, 96), (2, 83, 141), (1, 97, 40)], 0.0)
    formats.write_torch_export(tmp_path / "x.pt2", network_of("tf_efficientnet_lite0"), {}, False, comparison)


def test_what_training_alone_needs_is_left_out() -> None:
    """Parts of the memory, and the anchor of its writes; the network itself keeps them."""
    network = network_of("deeplab_v3plus")
    network.memory = CategoricalMemory(5, 8, anchor_weight=0.1)
    kept = {name for name in InferenceGraph(network).state_dict() if ".memory." in name and "fusion" not in name}
    assert kept == {"network.memory.items"}
    assert "memory.anchor" in network.state_dict()


def test_a_graph_that_does_not_agree_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here one that reads another memory, and one that knows only one size."""
    network, other = network_of("deeplab_v3plus"), network_of("deeplab_v3plus")
    other.require_memory().items.neg_()
    monkeypatch.setattr(formats, "traced", lambda graph: None)
    monkeypatch.setattr(torch.export, "save", lambda program, path, extra_files: path.write_bytes(b"whatever"))
    for run, message in ((other.segment, "1 x 64 x 96"), (lambda images: network.segment(images, (64, 64)), "instead of")):
        monkeypatch.setattr(formats, "torch_runner", lambda path, run=run: run)
        with pytest.raises(OutputError, match=message):
            formats.write_torch_export(tmp_path / "x.pt2", network, {}, False, Comparison([(1, 64, 96)], 1e-4))
        assert not list(tmp_path.iterdir())
    monkeypatch.setattr(formats, "torch_runner", lambda path: network.segment)
    assert formats.write_torch_export(tmp_path / "x.pt2", network, {}, False, Comparison([(1, 64, 96)], 1e-4)) == {(1, 64, 96): 0.0}


def test_what_no_graph_can_do_is_refused() -> None:
    network = network_of("deeplab_v3plus")
    check_exportable(network, RUNNING)
    for policy in ("image", "batch"):
        with pytest.raises(ConfigurationError, match="test_statistics=running"):
            check_exportable(network, BatchNormStatistics(policy))
    network.require_memory().gumbel_in_evaluation = True
    with pytest.raises(ConfigurationError, match="noise"):
        check_exportable(network, RUNNING)


def test_sizes_and_packages_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in ([], [[1, 32, 64]], [[64, 96]], [[0, 64, 96]], [[1, 64.5, 96]]):
        with pytest.raises(ConfigurationError, match="size"):
            Comparison.of(network_of("deeplab_v3plus"), sizes, 1e-4)  # type: ignore[arg-type]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"onnx, safetensors: pip install -e '\.\[export\]'"):
        require("onnx", "safetensors")
