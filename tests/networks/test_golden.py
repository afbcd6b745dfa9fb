"""The networks against logits, activations, losses, gradients and running statistics of the authors' released code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.memory import cross_entropy, feature_cohesion, memory_classification, memory_divergence
from pin_memory.methods.losses import auxiliary_loss
from pin_memory.networks import MemorySegmenter
from tests import golden_numbers

pytestmark = pytest.mark.golden

NETWORKS: dict[str, tuple[Any, ...]] = {"r18_v3plus": (18, 32), "r50_v3plus": (50, 16), "r101_v2": (101, 8, True)}
Recorder = Callable[[str, float], None]


def load(shared: Path, name: str) -> tuple[np.lib.npyio.NpzFile, dict[str, Any], MemorySegmenter]:
    """A golden file, its settings and the network with its weights."""
    golden = np.load(shared / "golden" / f"net_{name}.npz")
    network = golden_numbers.segmenter(*NETWORKS[name])
    golden_numbers.load_state(network, shared, name, 77, golden_numbers.buffers(golden, "buf/"), golden["m_items"])
    return golden, json.loads(str(golden["meta_json"])), network


def error(actual: torch.Tensor, expected: np.ndarray) -> float:
    """Largest absolute difference over the largest value."""
    assert tuple(actual.shape) == expected.shape
    return float((actual.detach() - torch.from_numpy(expected)).abs().max() / np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation(shared: Path, name: str, golden_error: Recorder) -> None:
    """Logits with memory read, an odd size, the auxiliary head, features before and after the read, and an eval-mode write."""
    golden, _, network = load(shared, name)
    network.eval()
    with torch.no_grad():
        encoding = network.encode(torch.from_numpy(golden["x_eval"]))
        written = network.encode(torch.from_numpy(golden["x_train"])).features
        errors = {
            "logits": error(network(torch.from_numpy(golden["x_eval"])), golden["eval/main_out"]),
            "logits of an odd size": error(network(torch.from_numpy(golden["x_odd"])), golden["eval_odd/main_out"]),
            "features": error(encoding.features, golden["eval/inter_feature"]),
            "read features": error(network.read(encoding.features).fused, golden["eval/read_feature"]),
            "auxiliary logits": error(network.auxiliary(encoding), golden["eval/aux_out"]),
            "eval-mode write": error(network.write(written, torch.from_numpy(golden["y_train"]).long()), golden["eval_write/m_items"]),
        }
    for quantity, value in errors.items():
        golden_error(f"network, {quantity}, float32", value)
        assert value <= 2e-5, quantity


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_in_float64(shared: Path, name: str, golden_error: Recorder) -> None:
    """Only round-off is left."""
    golden, _, network = load(shared, name)
    with torch.no_grad():
        logits = network.double().eval()(torch.from_numpy(golden["x_eval"]).double())
    golden_error("network, logits, float64", value := error(logits, golden["eval/main_out_f64"]))
    assert value <= 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_on_the_way(shared: Path, name: str) -> None:
    """A digest of every stage's output, so that a fault shows where it arises."""
    golden, meta, network = load(shared, name)
    ours = {f"layer{i}": f"backbone.stage{i}" for i in range(1, 5)} | {"final1": "decoder.refine", "final2": "decoder.classify"}
    seen: dict[str, torch.Tensor] = {}
    for released, module in ours.items():
        network.get_submodule(module).register_forward_hook(lambda m, x, y, key=released: seen.update({key: y}))
    with torch.no_grad():
        network.eval()(torch.from_numpy(golden["x_eval"]))
    digest = golden_numbers.fill_module(shared).digest
    for released in ours:
        assert list(seen[released].shape) == meta["acts"][released]
        for found, kind in zip(digest(f"act:{released}", seen[released].numpy()), ("norm", "proj", "samples"), strict=True):
            np.testing.assert_allclose(found, golden[f"eval/act/{released}/{kind}"], rtol=1e-4, atol=1e-3, err_msg=f"{released} {kind}")


@pytest.mark.parametrize("name", NETWORKS)
def test_training_in_float64(shared: Path, name: str, golden_error: Recorder) -> None:
    """Every loss term, the written memory, the running statistics and a digest of every parameter's gradient."""
    golden, meta, network = load(shared, name)
    network.double().train()
    images, labels = torch.from_numpy(golden["x_train"]).double(), torch.from_numpy(golden["y_train"]).long()
    encoding = network.encode(images)
    reading = network.read(encoding.features)
    items = network.write(encoding.features, labels)
    terms = {
        "main": cross_entropy(network.decode(reading, encoding, labels.shape[-2:]), labels),
        "aux": auxiliary_loss(network.auxiliary(encoding), labels),
        "read": feature_cohesion(reading.similarity, labels),
        "div": memory_divergence(items),
        "cls": memory_classification(network.classify_items(items)),
    }
    terms["total"] = terms["main"] + 0.4 * terms["aux"] + 0.02 * terms["read"] + 0.4 * terms["div"] + 0.2 * terms["cls"]
    terms["total"].backward()

    worst = {"losses": max(abs(float(terms[k].detach()) / v - 1) for k, v in meta["train_f64/losses"].items())}
    worst["train-mode write"] = error(items, golden["train_f64/m_items"])
    worst["running statistics"] = _statistics_error(golden, network)
    worst["gradients"] = _gradient_error(golden, meta, network, golden_numbers.fill_module(shared).digest)
    for quantity, value in worst.items():
        golden_error(f"network, {quantity}, float64", value)
    assert worst["losses"] <= 1e-9
    assert worst["train-mode write"] <= 1e-9
    assert worst["gradients"] <= 1e-9
    assert worst["running statistics"] <= 1e-6  # the file holds them in float32


def _gradient_error(golden: Any, meta: dict[str, Any], network: MemorySegmenter, digest: Callable[..., Any]) -> float:
    """Largest difference of a parameter's digest over the gradient's norm; where the true gradient is 0, over 1e-6."""
    gradients = {k: p.grad for k, p in network.named_parameters()}
    assert len(gradients) == len(meta["grad_names"])
    worst = 0.0
    for i, released in enumerate(meta["grad_names"]):
        norm, projections, samples = digest(released, gradients[golden_numbers.ours(released)].numpy())
        scale = max(golden["train_f64/grad/norm"][i], 1e-6)
        differences = [
            abs(norm - golden["train_f64/grad/norm"][i]),
            np.abs(projections - golden["train_f64/grad/proj"][i]).max(),
            np.abs(samples - golden["train_f64/grad/samples"][i]).max(),
        ]
        worst = max(worst, *(difference / scale for difference in differences))
    return worst


def _statistics_error(golden: Any, network: MemorySegmenter) -> float:
    """Largest relative error of a running mean or variance; the counters must be equal."""
    own, worst = dict(network.named_buffers()), 0.0
    for released, expected in golden_numbers.buffers(golden, "train_f64/buf_after/").items():
        found = own[golden_numbers.ours(released)]
        if released.endswith("num_batches_tracked"):
            assert int(found) == int(expected)
        else:
            worst = max(worst, error(found, expected))
    return worst
