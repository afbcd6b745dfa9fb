"""Whole iterations against the authors' released code: gradients, parameters, memories and batch-norm statistics in float64."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pin_memory.meta import FastWeights
from pin_memory.methods.batches import merge
from pin_memory.methods.schedules import ExponentialDecay
from tests import golden_numbers
from tests.methods.stepping import ByHand, ERMByHand, PinTheMemoryByHand

SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)


def prepared(shared: Path, case: str, method: type[ByHand], **settings: Any) -> tuple[np.lib.npyio.NpzFile, dict, ByHand]:
    """A golden file, its settings and the method on its initial network in float64."""
    golden = np.load(shared / "golden" / f"metastep_{case}.npz")
    network = golden_numbers.segmenter(18, 32)
    items = golden["m_items_init"] if "m_items_init" in golden.files else np.zeros((19, 256), np.float32)
    golden_numbers.load_state(network, shared, "r18_v3plus", 42, golden_numbers.buffers(golden, "buf_init/"), items)
    made = method(network.double().train(), SGD, ExponentialDecay(), **settings).prepare()
    return golden, json.loads(str(golden["meta_json"])), made


def batch_of(golden: np.lib.npyio.NpzFile) -> dict[str, dict[str, Any]]:
    """The iteration's images `(B, D, 3, H, W)` as one mini-batch per domain."""
    images, labels = torch.from_numpy(golden["it0/inputs"]).double(), torch.from_numpy(golden["it0/gts"]).long()
    return {f"d{d}": {"image": images[:, d], "label": labels[:, d], "name": []} for d in range(images.shape[1])}


def assert_digests(shared: Path, golden: np.lib.npyio.NpzFile, names: list[str], group: str, tensors: dict[str, torch.Tensor]) -> None:
    """Norm and projections of every tensor within 1e-9 relative (1e-12 absolute for those that are zero but for round-off)."""
    digest = golden_numbers.fill_module(shared).digest
    for i, name in enumerate(names):
        norm, projections, samples = digest(name, tensors[golden_numbers.ours(name)].detach().numpy())
        scale = golden[f"f64/it0/{group}/norm"][i]
        for found, kind in ((norm, "norm"), (projections, "proj"), (samples, "samples")):
            error = np.abs(found - golden[f"f64/it0/{group}/{kind}"][i]).max()
            assert error <= 1e-9 * scale + 1e-12, f"{group} {name} {kind}: {error:.2e} of {scale:.2e}"


def test_pin_the_memory_iteration(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner and total gradients, stepped parameters, the three memories and the running statistics."""
    golden, meta, method = prepared(shared, "mem_mldg", PinTheMemoryByHand)
    monkeypatch.setattr(method, "split", lambda domains, iteration: (["d0"], ["d1"]))
    memories: dict[str, torch.Tensor] = {}
    write_with = method.write_with

    def keep(fast: FastWeights, meta_train: Any) -> torch.Tensor:
        memories["m_items_meta_test"] = items = write_with(fast, meta_train)
        memories["inner"] = fast._inner_gradients
        return items

    monkeypatch.setattr(method, "write_with", keep)
    method.training_step(batch_of(golden), 0)
    assert_digests(shared, golden, meta["inner_grad_names"], "inner_grad", memories["inner"])
    assert_digests(shared, golden, meta["grad_names"], "grad", method.gradients)
    assert_digests(shared, golden, meta["param_after_names"], "param_after", dict(method.network.named_parameters()))
    for key, items in (("m_items_meta_test", memories["m_items_meta_test"]), ("m_items_after", method.memory.items)):
        np.testing.assert_allclose(items.detach().numpy(), golden[f"f64/it0/{key}"], rtol=1e-9, atol=1e-12)
    buffers = dict(method.network.named_buffers())
    for name, value in golden_numbers.buffers(golden, "f64/it0/buf_after/").items():
        np.testing.assert_allclose(buffers[golden_numbers.ours(name)].numpy(), value, rtol=1e-6, atol=1e-7, err_msg=name)  # kept in float32


def test_erm_iteration(shared: Path) -> None:
    """Gradients and stepped parameters of the plain baseline."""
    golden, meta, method = prepared(shared, "agg", ERMByHand)
    method.network.memory = None
    method.prepare().training_step(batch_of(golden), 0)
    assert_digests(shared, golden, meta["grad_names"], "grad", method.gradients)
    assert_digests(shared, golden, meta["param_after_names"], "param_after", dict(method.network.named_parameters()))


def test_memory_initialisation(shared: Path) -> None:
    """Two passes over three batches with nine classes; unseen classes stay zero."""
    golden = np.load(shared / "golden" / "meminit_r18.npz")
    network = golden_numbers.segmenter(18, 32)
    golden_numbers.load_state(network, shared, "r18_v3plus", 42, golden_numbers.buffers(golden, "buf/"), np.zeros((19, 256), np.float32))
    method = PinTheMemoryByHand(network, SGD)
    batches = [
        {
            "d": {
                "image": torch.from_numpy(golden[f"b{i}/inputs"]).flatten(0, 1),
                "label": torch.from_numpy(golden[f"b{i}/gts"]).long().flatten(0, 1),
            }
        }
        for i in range(3)
    ]
    method.initialise_memory(b for _ in range(2) for b in batches)
    np.testing.assert_allclose(method.memory.items.numpy(), golden["m_items"], rtol=1e-4, atol=1e-6)
    unseen = set(range(19)) - set(
        merge(batches[0]).labels.unique().tolist() + merge(batches[1]).labels.unique().tolist() + merge(batches[2]).labels.unique().tolist()
    )
    assert unseen
    assert not method.memory.items[sorted(unseen)].any()
