"""Whole iterations against the authors' released code: losses, gradients, parameters, memories and batch-norm statistics."""

import json
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir

from pin_memory.methods.fast_weights import FastWeights
from pin_memory.methods.schedules import ExponentialDecay
from pin_memory.utils.config import config_directory
from tests.helpers import golden_numbers, rounding
from tests.helpers.stepping import ByHand, ERMByHand, ERMMemoryByHand, MLDGByHand, PinTheMemoryByHand

pytestmark = pytest.mark.golden

METHODS: dict[str, type[ByHand]] = {
    "train_agg": ERMByHand,
    "train_memory_agg": ERMMemoryByHand,
    "train_mldg": MLDGByHand,
    "train_memory_mldg": PinTheMemoryByHand,
}
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
CASES = sorted(path.stem.removeprefix("metastep_") for path in GOLDEN.glob("metastep_*.npz")) or ["mem_mldg"]  # absent: skipped by name
TERMS = {"main": "segmentation", "aux": "auxiliary", "read": "cohesion", "div": "divergence", "cls": "classification"}
REPETITIONS = 2
"""Steps with rounded numbers that the unit of a float32 comparison is measured on."""

Report = Callable[[str, float], None]


class Run(NamedTuple):
    """One iteration: the method after it, the inner gradients, and every memory that was written on the way, in order."""

    method: ByHand
    inner_gradients: dict[str, torch.Tensor]
    written: list[torch.Tensor]


def method_of(shared: Path, golden: np.lib.npyio.NpzFile, meta: dict, dtype: torch.dtype) -> ByHand:
    """The method of a golden file on its initial network."""
    assert not meta["gumbel"]
    assert not meta["dropout"]
    network, keys = golden_numbers.network_of(meta)
    network.require_memory().momentum = meta["mem_momentum"]
    items = golden["m_items_init"] if meta["memory"] else np.zeros((19, 256), np.float32)
    golden_numbers.load_state(network, shared, keys, meta["seed"], golden_numbers.buffers(golden, "buf_init/"), items)
    if not meta["memory"]:
        network.memory = None
    settings: dict[str, Any] = {"auxiliary_weight": meta["w_aux"]}
    if meta["memory"]:
        settings["weights"] = {"cohesion": meta["w_read"], "divergence": meta["w_div"], "classification": meta["w_cls"]}
        settings["temperature"] = meta["mem_temp"]
    if meta["mldg"]:
        names = [f"d{d}" for d in range(meta["ndom"])]
        settings |= {"inner_lr": meta["inner_lr"], "anneal_inner_lr": meta["inner_lr_anneal"]}
        settings["split"] = lambda domains, iteration: tuple([names[d] for d in indices(meta[side], iteration)] for side in ("tr", "te"))
    optimizer = partial(torch.optim.SGD, lr=meta["lr"], momentum=meta["momentum"], weight_decay=meta["weight_decay"])
    return METHODS[meta["method"]](network.to(dtype).train(), optimizer, ExponentialDecay(meta["poly_exp"]), **settings).prepare()


def indices(domains: list[Any], iteration: int) -> list[int]:
    """The domains of a side: the same in every iteration, or listed for each."""
    return domains[iteration] if isinstance(domains[0], list) else domains


def batch_of(golden: np.lib.npyio.NpzFile, iteration: int, dtype: torch.dtype) -> dict[str, dict[str, Any]]:
    """The iteration's images `(B, D, 3, H, W)` as one mini-batch per domain."""
    images = torch.from_numpy(golden[f"it{iteration}/inputs"]).to(dtype)
    labels = torch.from_numpy(golden[f"it{iteration}/gts"]).long()
    return {f"d{d}": {"image": images[:, d], "label": labels[:, d], "name": []} for d in range(images.shape[1])}


def iterate(method: ByHand, golden: np.lib.npyio.NpzFile, iteration: int, dtype: torch.dtype) -> Run:
    """Run one iteration, keeping the inner gradients and the memories written: by the inner step, for the meta-test, at the end."""
    inner: dict[str, torch.Tensor] = {}
    written: list[torch.Tensor] = []
    network = method.network
    if isinstance(method, PinTheMemoryByHand | MLDGByHand):
        outer_step = type(method).outer_step

        def keep_inner(fast: FastWeights, *rest: Any) -> None:
            inner.update(fast.inner_gradients)
            outer_step(method, fast, *rest)

        method.outer_step = keep_inner

    def keep_items(*arguments: Any) -> torch.Tensor:
        written.append(type(network).write(network, *arguments))
        return written[-1]

    network.write = keep_items
    method.training_step(batch_of(golden, iteration, dtype), iteration)
    return Run(method, inner, written)


def assert_digests(
    shared: Path, golden: np.lib.npyio.NpzFile, meta: dict, key: str, tensors: dict[str, torch.Tensor], tolerance: float, report: Report
) -> None:
    """Norm, projections and samples of every tensor; relative to its norm, 1e-12 absolute for those that are zero but for round-off."""
    digest = golden_numbers.fill_module(shared).digest
    group = key.rpartition("/")[2]
    for i, name in enumerate(meta[f"{group}_names"]):
        found = digest(name, tensors[golden_numbers.ours(name)].detach().numpy())
        scale = float(golden[f"{key}/norm"][i])
        error = max(np.abs(part - golden[f"{key}/{kind}"][i]).max() for part, kind in zip(found, ("norm", "proj", "samples"), strict=True))
        if scale > 1e-9:
            report(f"step {meta['case']}: {group} (float64)", error / scale)
        assert error <= tolerance * scale + 1e-12, f"{key} {name}: {error:.2e} of {scale:.2e}"


def close(found: Any, target: Any, tolerance: float, what: str, report: Report) -> None:
    """Relative to the largest value of the target."""
    found, target = (np.asarray(value.detach() if isinstance(value, torch.Tensor) else value, np.float64) for value in (found, target))
    error = float(np.abs(found - target).max() / max(np.abs(target).max(), 1e-12))
    report(what, error)
    assert error <= tolerance, f"{what}: {error:.2e} > {tolerance:.0e}"


@pytest.mark.parametrize("case", CASES)
def test_iterations_in_float64(shared: Path, golden_error: Report, case: str) -> None:
    """Every number of every iteration in the file, at 1e-9 for the first one and 1e-6 for those that build on it."""
    golden = np.load(shared / "golden" / f"metastep_{case}.npz")
    meta = json.loads(str(golden["meta_json"]))
    method = method_of(shared, golden, meta, torch.float64)
    for iteration in range(meta["iters"]):
        key, tolerance = f"f64/it{iteration}", 1e-9 if iteration == 0 else 1e-6
        assert method.lr == pytest.approx(meta[f"{key}/lr"], rel=1e-12)
        if meta["mldg"]:
            assert method.inner_lr == pytest.approx(meta[f"{key}/inner_lr"], rel=1e-12)
        run = iterate(method, golden, iteration, torch.float64)
        assert method.lr == pytest.approx(meta["lr"] * math.exp(-meta["poly_exp"] * (iteration + 1) / 120_000), rel=1e-12)
        for step, losses in zip(("inner_", "outer_") if meta["mldg"] else ("",), meta[f"{key}/losses"], strict=True):
            for term, value in losses.items():
                name = f"{step}{TERMS[term]}" if term in ("main", "aux", "read") else TERMS.get(term)
                if name in method.terms and not (step == "outer_" and term in ("div", "cls")):
                    close(method.terms[name], value, tolerance, f"step {case}: {step}losses (float64)", golden_error)
            total = method.terms[step.rstrip("_") or "total"]
            close(total, losses["total"], tolerance, f"step {case}: {step}losses (float64)", golden_error)
        if meta["mldg"]:
            assert_digests(shared, golden, meta, f"{key}/inner_grad", run.inner_gradients, tolerance, golden_error)
        assert_digests(shared, golden, meta, f"{key}/grad", method.gradients, tolerance, golden_error)
        parameters = dict(method.network.named_parameters())
        assert_digests(shared, golden, meta, f"{key}/param_after", parameters, tolerance, golden_error)
        names = {"m_items_inner_write": "memory of the inner step", "m_items_meta_test": "memory of the meta-test"}
        for items, (name, what) in zip(run.written, names.items(), strict=False):
            if f"{key}/{name}" in golden.files:
                close(items, golden[f"{key}/{name}"], tolerance, f"step {case}: {what} (float64)", golden_error)
        if meta["memory"]:
            after = method.network.require_memory().items
            close(after, golden[f"{key}/m_items_after"], tolerance, f"step {case}: memory afterwards (float64)", golden_error)
            assert after.requires_grad is meta[f"{key}/flags"]["m_after_requires_grad"]
        assert method.network.training is meta[f"{key}/flags"]["training_after"]
        buffers = dict(method.network.named_buffers())
        for name, value in golden_numbers.buffers(golden, f"{key}/buf_after/").items():  # kept in float32
            close(buffers[golden_numbers.ours(name)], value, 1e-6, f"step {case}: batch-norm statistics (file in float32)", golden_error)


@pytest.mark.parametrize("case", [case for case in CASES if "mldg" in case])
def test_what_reaches_which_part_in_the_outer_step(shared: Path, golden_error: Report, case: str) -> None:
    """The update network learns through the memory it wrote alone, the memory classifier not at all."""
    golden = np.load(shared / "golden" / f"metastep_{case}.npz")
    meta = json.loads(str(golden["meta_json"]))
    if "rederive_check" not in meta:
        pytest.skip(f"{case} holds no norms of outer gradients")
    run = iterate(method_of(shared, golden, meta, torch.float64), golden, 0, torch.float64)
    outer = {name: run.method.gradients[name] - gradient for name, gradient in run.inner_gradients.items()}
    for name in meta["rederive_check"]["zero_outer"]:
        assert not outer[golden_numbers.ours(name)].any(), name
    for name, norm in (meta["rederive_check"]["params_with_grad_through_M"] or {}).items():
        quantity = f"step {case}: outer gradient through the memory (float64)"
        close(outer[golden_numbers.ours(name)].norm(), norm, 1e-9, quantity, golden_error)


def first_step(
    shared: Path, case: str, dtype: torch.dtype, mode: AbstractContextManager, seed: int | None = None
) -> dict[str, torch.Tensor]:
    """The gradients, the parameters and the memory of a file's first iteration; a seed changes the last bits of its images."""
    golden = np.load(shared / "golden" / f"metastep_{case}.npz")
    meta = json.loads(str(golden["meta_json"]))
    method, batch = method_of(shared, golden, meta, dtype), batch_of(golden, 0, torch.float32)
    for part in batch.values():
        part["image"] = (part["image"] if seed is None else rounding.last_bits(part["image"], seed)).to(dtype)
    with mode:
        method.training_step(batch, 0)
    found = {f"grad {name}": gradient for name, gradient in method.gradients.items()}
    found |= {f"param_after {name}": parameter.detach() for name, parameter in method.network.named_parameters()}
    return found if method.network.memory is None else found | {"memory afterwards": method.network.memory.items}


def single_step(shared: Path, case: str, sides: list[np.ndarray]) -> tuple[dict[str, np.ndarray], float]:
    """The same in float32 with imposed sides, and the furthest that one was overruled; in arrays, which other processes can be sent."""
    kinks = rounding.Kinks([torch.from_numpy(side) for side in sides])
    found = first_step(shared, case, torch.float32, kinks)
    return {name: value.detach().numpy() for name, value in found.items()}, kinks.furthest


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_an_iteration_in_float32(shared: Path, golden_error: Report, narrow: Callable[..., Any], case: str) -> None:
    """No tensor is further from float64 than a multiple of what rounding does to it, with wide vectors and with narrow ones."""
    kinks = rounding.Kinks()
    exact = first_step(shared, case, torch.float64, kinks)
    repeated = [first_step(shared, case, torch.float64, rounding.rounded(kinks.sides), seed) for seed in range(REPETITIONS)]
    units = rounding.units([rounding.distances(found, exact) for found in repeated], exact)
    sides = [side.numpy() for side in kinks.sides]
    for found, furthest in (single_step(shared, case, sides), narrow(single_step, shared, case, sides)):
        assert furthest <= rounding.ROUND_OFF_AT_A_KINK
        for name, distance in rounding.distances({name: torch.from_numpy(value) for name, value in found.items()}, exact).items():
            if float(exact[name].norm()) < 1e-9:  # the bias before a batch norm: a true gradient of zero
                assert distance < 1e-6, f"{name}: {distance:.1e} instead of zero"
                continue
            golden_error(f"step {case}: {name.split()[0]} (float32, over what rounding does)", distance / units[name])
            assert distance <= rounding.FACTOR * units[name], f"{name}: {distance:.1e}, rounding alone {units[name]:.1e}"


def test_the_published_settings_are_those_of_the_released_run(shared: Path) -> None:
    """Constants that a golden file is run with, and need not be given; noise and drop-out are off in the file alone."""
    meta = json.loads(str(np.load(shared / "golden" / "metastep_mem_mldg.npz")["meta_json"]))
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=["experiment=multi_source_gs", "paths.output=unused"])
    weights, memory = cfg.method.weights, cfg.network.memory
    assert [weights.cohesion, weights.divergence, weights.classification] == [meta["w_read"], meta["w_div"], meta["w_cls"]]
    assert [cfg.method.auxiliary_weight, cfg.method.inner_lr] == [meta["w_aux"], meta["inner_lr"]]
    assert [memory.momentum, cfg.method.temperature] == [meta["mem_momentum"], meta["mem_temp"]]
    optimizer = cfg.optimizer
    assert [optimizer.lr, optimizer.momentum, optimizer.weight_decay] == [meta["lr"], meta["momentum"], meta["weight_decay"]]
    assert [cfg.schedule.rate, cfg.schedule.horizon] == [meta["poly_exp"], 120_000]
    assert cfg.method.first_order
    assert cfg.method.anneal_inner_lr
    assert memory.gumbel


def test_memory_initialisation(shared: Path, golden_error: Report) -> None:
    """Two passes over three batches with nine classes; unseen classes stay zero."""
    golden = np.load(shared / "golden" / "meminit_r18.npz")
    meta = json.loads(str(golden["meta_json"]))
    (network, keys), start = golden_numbers.network_of(meta), golden["m_items_start"]  # whose items must not matter
    golden_numbers.load_state(network, shared, keys, meta["seed"], golden_numbers.buffers(golden, "buf/"), start)
    method = PinTheMemoryByHand(network, partial(torch.optim.SGD, lr=0.01))
    batches = []
    for i in range(meta["batches"]):
        images, labels = torch.from_numpy(golden[f"b{i}/inputs"]), torch.from_numpy(golden[f"b{i}/gts"]).long()
        batches.append({"d": {"image": images.flatten(0, 1), "label": labels.flatten(0, 1)}})
    method.initialise_memory(b for _ in range(meta["epochs"]) for b in batches)
    close(method.memory.items, golden["m_items"], 1e-5, "memory initialisation (file in float32)", golden_error)
    seen = {int(k) for batch in batches for k in batch["d"]["label"].unique()}
    unseen = sorted(set(range(19)) - seen)
    assert unseen
    assert not method.memory.items[unseen].any()
