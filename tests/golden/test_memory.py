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

pytestmark = pytest.mark.golden

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
CASES = sorted(path.stem.removeprefix("memory_") for path in GOLDEN.glob("memory_*.npz")) or ["base"]  # absent: skipped by name
NAMES = {"output.0": "fusion.0", "output.1": "fusion.1", "writenet.writefeat.0": "update.conv", "writenet.writefeat.1": "update.norm"}
TOLERANCE = {"f32": 1e-5, "f64": 1e-9}
ROUND_OFF = 3
"""Our float32 gradient may be so many times as far from float64 as the released one is: another order of sums, the same conditioning."""

Report = Callable[[str, float], None]


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

    def close(self, name: str, found: torch.Tensor | None, quantity: str, exact: torch.Tensor | None = None) -> None:
        """At 1e-9 in float64 and 1e-5 in float32.

        A float32 gradient that the released run itself has less exactly may be off by a multiple of that run's round-off: its distance to
        the float64 run of the file or, where that holds none, to `exact`; such gradients are reported apart, in units of the round-off.
        """
        full = f"{self.key}/{name}"
        self.seen.add(full)
        target = tensor(self.golden[full])
        precision, error = full[:3], relative_error(torch.zeros_like(target) if found is None else found.detach(), target)
        own = self.round_off(full, target, exact) if precision == "f32" and "/grad" in full else 0.0
        if ROUND_OFF * own <= TOLERANCE[precision]:
            self.report(f"memory: {quantity} (float{precision[1:]})", error)
            assert error <= TOLERANCE[precision], f"{full}: relative error {error:.2e}"
        else:
            self.report(f"memory: {quantity} (ill-conditioned in float32, over the released round-off)", error / own)
            assert error <= ROUND_OFF * own, f"{full}: relative error {error:.2e}, released code {own:.2e}"

    def round_off(self, full: str, target: torch.Tensor, exact: torch.Tensor | None) -> float:
        """Relative distance of a float32 golden array to float64."""
        double = f"f64{full[3:]}"
        if double in self.golden.files:
            return relative_error(target, tensor(self.golden[double]))
        return 0.0 if exact is None else min(relative_error(target, exact), 2e-4)

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


def compare_gradients(
    compare: Comparison, prefix: str, found: dict[str, torch.Tensor | None], exact: dict[str, torch.Tensor | None], quantity: str
) -> None:
    """Every gradient below `prefix` of the file; those that the released code has none of are absent or zero here."""
    expected = {name if name in found else ours(name): name for name in compare.below(prefix)}
    for name, released in expected.items():
        what = quantity if name.startswith("query") or name == "m_items_new" else f"{quantity}, parameters"
        compare.close(f"{prefix}{released}", found[name], what, exact.get(name))
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


def gradients_of(case: Case, full: bool) -> dict[str, torch.Tensor | None]:
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
    exact = load(shared, name, "f64", mode)
    for kind in ("losses", "full"):
        if compare.below(f"grad_{kind}/"):
            found, reference = gradients_of(case, kind == "full"), gradients_of(exact, kind == "full")
            compare_gradients(
                compare, f"grad_{kind}/", found, reference, f"gradient of {'losses' if kind == 'losses' else 'losses and read'}"
            )
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


def chain_of(case: Case) -> tuple[Reading, dict[str, torch.Tensor], dict[str, torch.Tensor | None]]:
    """Write from one batch, read another with what was written: the reading, the losses and all gradients."""
    query, query2 = (case.inputs[k].detach().requires_grad_() for k in ("query", "query2"))
    items = case.memory.write(query, case.inputs["mask"])
    reading = case.memory.read(query2, items)
    cohesion = feature_cohesion(reading.similarity, case.inputs["mask2"], case.meta["temperature"])
    total = cohesion + (reading.fused * case.inputs["R"]).sum()
    tensors = {"query": query, "query2": query2, "m_items_new": items} | dict(case.memory.named_parameters())
    values = torch.autograd.grad(total, list(tensors.values()), allow_unused=True)
    found: dict[str, torch.Tensor | None] = dict(zip(tensors, values, strict=True))
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
    reading, losses, found = chain_of(case)
    compare_read(compare, reading, [])
    compare_losses(compare, losses)
    _, _, exact = chain_of(load(shared, name, "f64", mode))
    compare_gradients(compare, "grad/", found, exact, "gradient through a written memory")
    compare.none_left()
