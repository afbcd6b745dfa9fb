"""The memory against outputs and gradients of the authors' released code, case by case."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from pin_memory.memory import CategoricalMemory, Reading, operations
from pin_memory.methods.losses import feature_cohesion, memory_classification, memory_divergence
from tests.helpers import rounding

pytestmark = pytest.mark.golden

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
CASES = sorted(path.stem.removeprefix("memory_") for path in GOLDEN.glob("memory_*.npz")) or ["base"]  # absent: skipped by name
NAMES = {"output.0": "fusion.0", "output.1": "fusion.1", "writenet.writefeat.0": "update.conv", "writenet.writefeat.1": "update.norm"}
TOLERANCE = {"f32": 1e-5, "f64": 1e-9}
REPETITIONS = 2
"""Passes with rounded numbers that the unit of a float32 gradient is measured on."""

Report = Callable[[str, float], None]
Gradients = dict[str, torch.Tensor | None]


class Case(NamedTuple):
    """A golden file, its settings, the memory with its weights, and its inputs."""

    golden: np.lib.npyio.NpzFile
    meta: dict[str, Any]
    memory: CategoricalMemory
    inputs: dict[str, torch.Tensor]


def ours(name: str) -> str:
    """The name here of a tensor of the released memory."""
    prefix, _, leaf = name.rpartition(".")
    return f"{NAMES.get(prefix, prefix.replace('clsfier', 'classifier'))}.{leaf}"


def load(shared: Path, case: str, precision: str, mode: str) -> Case:
    """Read a golden file and build its memory, in train or eval mode."""
    golden = np.load(shared / "golden" / f"memory_{case}.npz")
    meta = json.loads(str(golden["meta_json"]))
    dtype = torch.float32 if precision == "f32" else torch.float64
    noisy = meta["gumbel"]  # the released code samples in evaluation, too
    memory = CategoricalMemory(meta["memory_size"], meta["D"], meta["momentum"], gumbel=noisy, gumbel_in_evaluation=noisy)
    state = {ours(k[3:]): torch.from_numpy(golden[k]) for k in golden.files if k.startswith("sd/")}
    memory.load_state_dict(state | {"items": torch.from_numpy(golden["m_items"])})
    inputs = {k: torch.from_numpy(golden[k]) for k in ("query", "mask", "R", "query2", "mask2") if k in golden.files}
    inputs = {k: v.to(dtype) if v.is_floating_point() else v.long() for k, v in inputs.items()}
    return Case(golden, meta, memory.to(dtype).train(mode == "train"), inputs)


class Comparison:
    """Compares our tensors with those below a key of a golden file, and reports the errors by quantity."""

    def __init__(self, golden: np.lib.npyio.NpzFile, key: str, report: Report) -> None:
        self.golden, self.key, self.report = golden, key, report
        self.seen: set[str] = set()

    def has(self, name: str) -> bool:
        """Whether the file holds it."""
        return f"{self.key}/{name}" in self.golden.files

    def below(self, prefix: str) -> list[str]:
        """The names that begin with `prefix`, without it."""
        start = f"{self.key}/{prefix}"
        return [k.removeprefix(start) for k in self.golden.files if k.startswith(start)]

    def close(self, name: str, found: torch.Tensor | None, quantity: str, unit: float = 0.0) -> None:
        """At 1e-9 in float64 and 1e-5 in float32, or at a multiple of what rounding does to a float32 gradient: its relative `unit`.

        Float32 gradients are compared with the float64 ones of the file where it holds them; those that rounding changes by more than the
        tolerance allows are reported apart, in units.
        """
        full = f"{self.key}/{name}"
        self.seen.add(full)
        double, precision = f"f64{full[3:]}", full[:3]
        target = tensor(self.golden[double if unit and double in self.golden.files else full])
        error = relative_error(torch.zeros_like(target) if found is None else found.detach(), target)
        if rounding.FACTOR * unit <= TOLERANCE[precision]:
            self.report(f"memory: {quantity} (float{precision[1:]})", error)
            assert error <= TOLERANCE[precision], f"{full}: relative error {error:.2e}"
        else:
            self.report(f"memory: {quantity} (ill-conditioned in float32, over what rounding does)", error / unit)
            assert error <= rounding.FACTOR * unit, f"{full}: relative error {error:.2e}, rounding alone {unit:.2e}"

    def none_left(self) -> None:
        """Every array below the key was compared."""
        left = {k for k in self.golden.files if k.startswith(f"{self.key}/")} - self.seen
        assert not left, f"not compared: {sorted(left)}"


def tensor(array: np.ndarray) -> torch.Tensor:
    """A golden array, in float64 where it is of numbers with a point."""
    return torch.from_numpy(np.asarray(array)).double()


def relative_error(found: torch.Tensor, target: torch.Tensor) -> float:
    """Error in norm; an expected zero allows round-off only."""
    assert found.shape == target.shape
    return float((found.double() - target.double()).norm() / target.double().norm().clamp(min=1e-6))


@pytest.fixture
def read_weights(monkeypatch: pytest.MonkeyPatch) -> Callable[[Case], list[torch.Tensor]]:
    """Put the Gumbel noise of a file in place of random noise; returns the list of the weights that reads then mix the items by."""

    def prepare(case: Case) -> list[torch.Tensor]:
        weights: list[torch.Tensor] = []

        def sample(scores: torch.Tensor, tau: float, dim: int) -> torch.Tensor:
            batch, slots, height, width = scores.shape
            noise = torch.from_numpy(case.golden["gumbel/score_memory_noise"]).to(scores.dtype)
            noise = noise.reshape(batch, height, width, slots).permute(0, 3, 1, 2)
            weights.append(((scores + noise) / tau).softmax(dim))
            return weights[-1]

        monkeypatch.setattr(operations.F, "gumbel_softmax", sample)
        return weights

    return prepare


def compare_read(compare: Comparison, reading: Reading, sampled: list[torch.Tensor]) -> None:
    """The fused features, and the soft-max of the similarities over slots and over all pixels of the batch."""
    compare.close("updated_query", reading.fused, "read features")
    weights = sampled[-1] if sampled else reading.similarity.softmax(1)
    compare.close("score_memory", weights.permute(0, 2, 3, 1), "read weights")
    if compare.has("score_query"):
        scores = reading.similarity.permute(0, 2, 3, 1)
        if "gumbel/score_query_noise" in compare.golden.files:
            scores = scores + torch.from_numpy(compare.golden["gumbel/score_query_noise"]).to(scores.dtype).reshape(scores.shape)
        compare.close("score_query", scores.flatten(0, 2).softmax(0).reshape(scores.shape), "similarities over all pixels")


def compare_losses(compare: Comparison, terms: dict[str, torch.Tensor]) -> None:
    """Every loss; where no pixel is labelled the released cohesion is 0 / 0, and here no contribution."""
    nothing = bool(np.isnan(compare.golden[f"{compare.key}/readloss"]))
    for name, value in terms.items():
        if nothing and name in ("readloss", "total_losses", "total"):
            compare.seen.add(f"{compare.key}/{name}")
            assert np.isnan(compare.golden[f"{compare.key}/{name}"])
            assert torch.isfinite(value)
        else:
            compare.close(name, value, f"loss {name.removesuffix('_loss').removesuffix('loss').removesuffix('_losses')}")
    assert not nothing or terms["readloss"] == 0


def in_float32(shared: Path, name: str, mode: str, run: Callable[[Case], Gradients]) -> tuple[Gradients, dict[str, float]]:
    """Float32 gradients with the sides that float64 takes at every kink, and what rounding alone does to each, relative."""
    kinks = rounding.Kinks()
    with kinks:
        exact = present(run(load(shared, name, "f64", mode)))
    repeated = []
    for seed in range(REPETITIONS):
        case = load(shared, name, "f64", mode)
        for key in {"query", "query2"} & set(case.inputs):
            case.inputs[key] = rounding.last_bits(case.inputs[key].float(), seed).double()
        with rounding.rounded(kinks.sides):
            repeated.append(rounding.distances(present(run(case)), exact))
    with rounding.Kinks(kinks.sides) as imposed:
        found = run(load(shared, name, "f32", mode))
    assert imposed.furthest <= rounding.ROUND_OFF_AT_A_KINK
    return found, {key: unit / max(float(exact[key].norm()), 1e-6) for key, unit in rounding.units(repeated, exact).items()}


def gradients(shared: Path, name: str, precision: str, mode: str, run: Callable[[Case], Gradients]) -> tuple[Gradients, dict[str, float]]:
    """The gradients of a pass of its own, and their units in float32."""
    return in_float32(shared, name, mode, run) if precision == "f32" else (run(load(shared, name, "f64", mode)), {})


def present(found: Gradients) -> dict[str, torch.Tensor]:
    """Those gradients that there are."""
    return {name: gradient.detach() for name, gradient in found.items() if gradient is not None}


def compare_gradients(compare: Comparison, prefix: str, found: Gradients, units: dict[str, float], quantity: str) -> None:
    """Every gradient below `prefix` of the file; those that the released code has none of are absent or zero here."""
    expected = {name if name in found else ours(name): name for name in compare.below(prefix)}
    for name, released in expected.items():
        what = quantity if name.startswith("query") or name == "m_items_new" else f"{quantity}, parameters"
        compare.close(f"{prefix}{released}", found[name], what, units.get(name, 0.0))
    if expected:
        rest = {name: gradient for name, gradient in found.items() if name not in expected and gradient is not None}
        assert not [name for name, gradient in rest.items() if gradient.any()], "a gradient where the released code has none"


def written(case: Case, wd: int, query: torch.Tensor) -> torch.Tensor:
    """The items after a write as they are stored: with graph for the outer step (wd=0), or committed (wd=1)."""
    items = case.memory.write(query, case.inputs["mask"])
    if wd == 0:
        return items
    before = case.memory.items.clone()
    case.memory.commit(items)
    stored = case.memory.items.clone()
    case.memory.commit(before)
    return stored


def losses_of(case: Case, reading: Reading, items: torch.Tensor) -> dict[str, torch.Tensor]:
    """The three losses of the memory and their sum, under the released names."""
    terms = {
        "readloss": feature_cohesion(reading.similarity, case.inputs["mask"], case.meta["temperature"]),
        "div_loss": memory_divergence(items),
        "cls_loss": memory_classification(case.memory.classify(items)),
    }
    return terms | {"total_losses": terms["readloss"] + 0.4 * terms["div_loss"] + 0.2 * terms["cls_loss"]}


def gradients_of(case: Case, full: bool) -> Gradients:
    """Gradients of the losses, or of the losses and the read features against the file's cotangent, on a pass of their own."""
    query = case.inputs["query"].detach().requires_grad_()
    reading = case.memory.read(query)
    loss = losses_of(case, reading, case.memory.write(query, case.inputs["mask"]))["total_losses"]
    loss = loss + (reading.fused * case.inputs["R"]).sum() if full else loss
    tensors = {"query": query} | dict(case.memory.named_parameters())
    return dict(zip(tensors, torch.autograd.grad(loss, list(tensors.values()), allow_unused=True), strict=True))


@pytest.mark.parametrize("wd", [0, 1])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("precision", ["f32", "f64"])
@pytest.mark.parametrize("name", CASES)
def test_read_write_losses_and_gradients(
    shared: Path, name: str, precision: str, mode: str, wd: int, golden_error: Report, read_weights: Callable[[Case], list[torch.Tensor]]
) -> None:
    """Every output, gradient and running statistic of one read, write and loss call; `wd` is the released flag of a detached write."""
    case = load(shared, name, precision, mode)
    compare = Comparison(case.golden, f"{precision}/{mode}_wd{wd}", golden_error)
    if not compare.below(""):
        pytest.skip(f"{name} holds no {compare.key}")
    sampled = read_weights(case) if case.meta["gumbel"] else []
    with torch.no_grad():
        reading = case.memory.read(case.inputs["query"])
        items = case.memory.write(case.inputs["query"], case.inputs["mask"])
        compare_read(compare, reading, sampled)
        compare.close("m_items_new", items, "written items")
        compare_losses(compare, losses_of(case, reading, items))
        for buffer in compare.below("buf/"):
            compare.close(f"buf/{buffer}", case.memory.get_buffer(ours(buffer)), "running statistics")
    for kind in ("losses", "full"):
        if compare.below(f"grad_{kind}/"):
            found, units = gradients(shared, name, precision, mode, lambda case, full=kind == "full": gradients_of(case, full))
            compare_gradients(compare, f"grad_{kind}/", found, units, f"gradient of {'losses' if kind == 'losses' else 'losses and read'}")
    compare.none_left()


@pytest.mark.parametrize("wd", [0, 1])
@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("name", CASES)
def test_gradient_reaches_an_open_write_alone(shared: Path, name: str, mode: str, wd: int) -> None:
    """As the released flags say: stored items carry no gradient, those of the outer step do, unless nothing was labelled."""
    case = load(shared, name, "f64", mode)
    query = case.inputs["query"].requires_grad_()
    items = written(case, wd, query)
    reached = items.requires_grad and bool(torch.autograd.grad((items * torch.randn_like(items)).sum(), query)[0].any())
    assert reached is case.meta[f"f64/{mode}_wd{wd}/m_items_new_requires_grad"]
    torch.testing.assert_close(items.detach(), torch.from_numpy(case.golden[f"f64/{mode}_wd{wd}/m_items_new"]), rtol=0, atol=1e-12)


def chain_of(case: Case) -> tuple[Reading, dict[str, torch.Tensor], Gradients]:
    """Write from one batch, read another with what was written: the reading, the losses and all gradients."""
    query, query2 = (case.inputs[k].detach().requires_grad_() for k in ("query", "query2"))
    items = case.memory.write(query, case.inputs["mask"])
    reading = case.memory.read(query2, items)
    cohesion = feature_cohesion(reading.similarity, case.inputs["mask2"], case.meta["temperature"])
    total = cohesion + (reading.fused * case.inputs["R"]).sum()
    tensors = {"query": query, "query2": query2, "m_items_new": items} | dict(case.memory.named_parameters())
    values = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    found: Gradients = dict(zip(tensors, values, strict=True))
    if not case.meta[f"{'f64' if query.dtype == torch.float64 else 'f32'}/train_wd0/m_items_new_requires_grad"]:
        found["m_items_new"] = None  # nothing was labelled: the released items are a constant then
    return reading, {"readloss": cohesion, "total": total}, found


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("precision", ["f32", "f64"])
@pytest.mark.parametrize("name", CASES)
def test_gradient_through_a_written_memory(shared: Path, name: str, precision: str, mode: str, golden_error: Report) -> None:
    """The outer path: a second batch reads what the first one wrote."""
    case = load(shared, name, precision, mode)
    compare = Comparison(case.golden, f"{precision}/{mode}_chain", golden_error)
    if not compare.below(""):
        pytest.skip(f"{name} holds no {compare.key}")
    if case.meta["gumbel"]:
        pytest.skip(f"{name}: the file does not hold the second read's noise")
    reading, losses, _ = chain_of(case)
    compare_read(compare, reading, [])
    compare_losses(compare, losses)
    found, units = gradients(shared, name, precision, mode, lambda case: chain_of(case)[2])
    compare_gradients(compare, "grad/", found, units, "gradient through a written memory")
    compare.none_left()
