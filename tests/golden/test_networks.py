"""The networks against logits, activations, losses, gradients and running statistics of the authors' released code."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pin_memory.methods.losses import auxiliary_loss, cross_entropy, feature_cohesion, memory_classification, memory_divergence
from pin_memory.networks import MemorySegmenter, SummedASPP
from tests.helpers import golden_numbers, rounding

pytestmark = pytest.mark.golden

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
NETWORKS = sorted(path.stem.removeprefix("net_") for path in GOLDEN.glob("net_*.npz")) or ["r18_v3plus"]  # absent: skipped by name
MODULES = {f"layer{i}": f"backbone.stage{i}" for i in range(1, 5)} | {
    "aspp": "aspp", "bot_aspp": "aspp.bottleneck", "bot_fine": "decoder.reduce", "final1": "decoder.refine", "final2": "decoder.classify",
}  # fmt: skip
Report = Callable[[str, float], None]


def load(shared: Path, name: str) -> tuple[np.lib.npyio.NpzFile, dict[str, Any], MemorySegmenter]:
    """A golden file, its settings and the network with its weights."""
    golden = np.load(shared / "golden" / f"net_{name}.npz")
    meta = json.loads(str(golden["meta_json"]))
    items = golden["m_items"] if meta["memory"] else np.zeros((19, 256), np.float32)
    network, keys = golden_numbers.network_of(meta)
    golden_numbers.load_state(network, shared, keys, meta["seed"], golden_numbers.buffers(golden, "buf/"), items)
    if not meta["memory"]:
        network.memory = None
    return golden, meta, network


def error(actual: torch.Tensor, expected: np.ndarray) -> float:
    """Largest absolute difference over the largest value."""
    assert tuple(actual.shape) == expected.shape
    return float((actual.detach() - torch.from_numpy(expected)).abs().max() / np.abs(expected).max())


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation(shared: Path, name: str, golden_error: Report) -> None:
    """Logits with memory read, an odd size, the auxiliary head, features and scores of the read, and an eval-mode write."""
    golden, meta, network = load(shared, name)
    network.eval()
    with torch.no_grad():
        encoding = network.encode(torch.from_numpy(golden["x_eval"]))
        found = {
            "eval/main_out": network(torch.from_numpy(golden["x_eval"])),
            "eval_odd/main_out": network(torch.from_numpy(golden["x_odd"])),
            "eval/inter_feature": encoding.features,
            "eval/aux_out": network.auxiliary(encoding),
        }
        if meta["memory"]:
            reading = network.read(encoding.features)
            scores = reading.similarity.permute(0, 2, 3, 1)
            features = network.encode(torch.from_numpy(golden["x_train"])).features
            found |= {
                "eval/read_feature": reading.fused,
                "eval/score_memory": scores.softmax(-1),
                "eval/score_query": scores.flatten(0, 2).softmax(0).reshape(scores.shape),
                "eval_write/m_items": network.write(features, torch.from_numpy(golden["y_train"]).long()),
            }
    expected = {k for k in golden.files if k.startswith("eval") and not k.startswith("eval/act/") and not k.endswith("_f64")}
    assert expected <= set(found), f"not compared: {sorted(expected - set(found))}"
    for key in sorted(expected):
        golden_error(f"network {name}: {key} (float32)", value := error(found[key], golden[key]))
        assert value <= 1e-4, key


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_in_float64(shared: Path, name: str, golden_error: Report) -> None:
    """Only round-off is left."""
    golden, _, network = load(shared, name)
    with torch.no_grad():
        logits = network.double().eval()(torch.from_numpy(golden["x_eval"]).double())
    golden_error(f"network {name}: eval/main_out (float64)", value := error(logits, golden["eval/main_out_f64"]))
    assert value <= 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_on_the_way(shared: Path, name: str, golden_error: Report) -> None:
    """A digest of every stage's output, so that a fault shows where it arises."""
    golden, meta, network = load(shared, name)
    seen: dict[str, torch.Tensor] = {}
    for released in meta["acts"]:
        module = network.get_submodule(MODULES[released])
        if released == "aspp" and not isinstance(network.aspp, SummedASPP):  # there: the branches side by side, before the bottleneck
            network.aspp.bottleneck.register_forward_pre_hook(lambda m, x, key=released: seen.update({key: x[0]}))
        else:
            module.register_forward_hook(lambda m, x, y, key=released: seen.update({key: y}))
    with torch.no_grad():
        network.eval()(torch.from_numpy(golden["x_eval"]))
    digest = golden_numbers.fill_module(shared).digest
    assert {k.split("/")[2] for k in golden.files if k.startswith("eval/act/")} == set(meta["acts"])
    for released, shape in meta["acts"].items():
        assert list(seen[released].shape) == shape
        found = digest(f"act:{released}", seen[released].numpy())
        value = _digest_error(found, golden, f"eval/act/{released}")
        golden_error(f"network {name}: activations (float32)", value)
        assert value <= 1e-4, released


def _digest_error(found: tuple[Any, ...], golden: Any, key: str, index: Any = ...) -> float:
    """Largest difference of a digest; norm and projections over the norm, samples over the largest of them."""
    norm, projections, samples = (golden[f"{key}/{kind}"][index] for kind in ("norm", "proj", "samples"))
    differences = abs(found[0] - norm), np.abs(found[1] - projections).max()
    return float(max(max(differences) / norm, np.abs(found[2] - samples).max() / np.abs(samples).max()))


def train(network: MemorySegmenter, golden: Any, dtype: torch.dtype) -> tuple[dict[str, torch.Tensor], torch.Tensor | None]:
    """One training pass and backward: every loss term, and the memory as written."""
    network.to(dtype).train()
    images, labels = torch.from_numpy(golden["x_train"]).to(dtype), torch.from_numpy(golden["y_train"]).long()
    encoding = network.encode(images)
    reading = network.read(encoding.features)
    terms = {
        "main": cross_entropy(network.decode(reading, encoding, labels.shape[-2:]), labels),
        "aux": auxiliary_loss(network.auxiliary(encoding), labels),
    }
    terms["total"], items = terms["main"] + 0.4 * terms["aux"], None
    if network.memory is not None:
        items = network.write(encoding.features, labels)
        terms["read"] = feature_cohesion(reading.similarity, labels)
        terms["div"], terms["cls"] = memory_divergence(items), memory_classification(network.classify_items(items))
        terms["total"] = terms["total"] + 0.02 * terms["read"] + 0.4 * terms["div"] + 0.2 * terms["cls"]
    terms["total"].backward()
    return terms, items


class InDouble(NamedTuple):
    """A training pass in float64: the golden file and its settings, the network with its gradients, the numbers, the side at every kink."""

    name: str
    golden: np.lib.npyio.NpzFile
    meta: dict[str, Any]
    network: MemorySegmenter
    terms: dict[str, torch.Tensor]
    items: torch.Tensor | None
    sides: list[torch.Tensor]


@pytest.fixture(scope="module", params=NETWORKS)
def double(request: pytest.FixtureRequest, shared: Path) -> InDouble:
    """The pass that golden numbers and the float32 pass are compared with, made once for both."""
    golden, meta, network = load(shared, request.param)
    with rounding.Kinks() as kinks:
        terms, items = train(network, golden, torch.float64)
    return InDouble(request.param, golden, meta, network, terms, items, kinks.sides)


@pytest.mark.slow
def test_training_in_float64(shared: Path, double: InDouble, golden_error: Report) -> None:
    """Every loss term, the written memory, the running statistics and a digest of every parameter's gradient."""
    name, golden, meta, network, terms, items, _ = double
    assert set(terms) >= set(meta["train_f64/losses"])
    for term, value in meta["train_f64/losses"].items():
        _check(golden_error, f"network {name}: train losses (float64)", abs(float(terms[term].detach()) / value - 1), 1e-9)
    if items is not None:
        _check(golden_error, f"network {name}: train-mode write (float64)", error(items, golden["train_f64/m_items"]), 1e-9)
    digest = golden_numbers.fill_module(shared).digest
    worst = max(value for _, value in _gradient_errors(golden, meta, network, digest))
    _check(golden_error, f"network {name}: gradients (float64)", worst, 1e-9)
    worst = _statistics_error(golden, network)
    _check(golden_error, f"network {name}: running statistics (file in float32)", worst, 1e-6)


@pytest.mark.slow
def test_training_in_float32(shared: Path, double: InDouble, golden_error: Report) -> None:
    """Losses and memory as the released float32 run; no gradient further from float64 than a multiple of what rounding does to it."""
    name, golden, meta, *_ = double
    network = load(shared, name)[2]
    with rounding.Kinks(double.sides) as kinks:
        terms, items = train(network, golden, torch.float32)
    assert kinks.furthest <= rounding.ROUND_OFF_AT_A_KINK
    for term, value in meta["train_f32/losses"].items():
        _check(golden_error, f"network {name}: train losses (float32)", abs(float(terms[term].detach()) / value - 1), 1e-5)
    if items is not None:
        _check(golden_error, f"network {name}: train-mode write (float32)", error(items, golden["train_f32/m_items"]), 1e-4)
    repeated = load(shared, name)[2]
    with rounding.rounded(double.sides):
        train(repeated, golden, torch.float64)
    exact = _gradients(double.network)
    units = rounding.units([rounding.distances(_gradients(repeated), exact)], exact)
    for parameter, distance in rounding.distances(_gradients(network), exact).items():
        if float(exact[parameter].norm()) < 1e-9:  # the bias before a batch norm: a true gradient of zero
            assert distance < 1e-6, f"{parameter}: {distance:.1e} instead of zero"
        else:
            what = f"network {name}: gradients (float32, over what rounding does)"
            _check(golden_error, what, distance / units[parameter], rounding.FACTOR)


def _gradients(network: MemorySegmenter) -> dict[str, torch.Tensor]:
    """The gradient of every parameter."""
    return {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}


def _check(report: Report, quantity: str, value: float, tolerance: float) -> None:
    """Report an error, and hold it to its tolerance."""
    report(quantity, value)
    assert value <= tolerance, f"{quantity}: {value:.1e} > {tolerance:.0e}"


def _gradient_errors(golden: Any, meta: dict[str, Any], network: MemorySegmenter, digest: Callable[..., Any]) -> list[tuple[str, float]]:
    """Largest difference of each parameter's digest to float64, over the gradient's norm; where the true gradient is 0, over 1e-6."""
    gradients = {k: p.grad for k, p in network.named_parameters()}
    assert len(gradients) == len(meta["grad_names"])
    errors = []
    for i, released in enumerate(meta["grad_names"]):
        found = digest(released, gradients[golden_numbers.ours(released)].numpy())
        expected = [golden[f"train_f64/grad/{kind}"][i] for kind in ("norm", "proj", "samples")]
        differences = [np.abs(part - target).max() for part, target in zip(found, expected, strict=True)]
        errors.append((released, float(max(differences) / max(expected[0], 1e-6))))
    return errors


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
