"""The networks against logits, activations, losses and gradients of the authors' released code."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pin_memory.memory import cross_entropy, feature_cohesion, memory_classification, memory_divergence
from pin_memory.methods.losses import auxiliary_loss
from tests import golden_numbers

NETWORKS = {"r18_v3plus": (18, 32), "r50_v3plus": (50, 16)}


@pytest.mark.parametrize("name", NETWORKS)
def test_evaluation_logits(shared: Path, name: str) -> None:
    """Logits with memory read, an odd size, the auxiliary head and an eval-mode write."""
    golden = np.load(shared / "golden" / f"net_{name}.npz")
    network = golden_numbers.segmenter(*NETWORKS[name])
    golden_numbers.load_state(network, shared, name, 77, golden_numbers.buffers(golden, "buf/"), golden["m_items"])
    network.eval()
    with torch.no_grad():
        for images, expected in (("x_eval", "eval/main_out"), ("x_odd", "eval_odd/main_out")):
            logits = network(torch.from_numpy(golden[images]))
            torch.testing.assert_close(logits, torch.from_numpy(golden[expected]), atol=1e-4, rtol=1e-4)
        encoding = network.encode(torch.from_numpy(golden["x_eval"]))
        torch.testing.assert_close(encoding.features, torch.from_numpy(golden["eval/inter_feature"]), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(network.auxiliary(encoding), torch.from_numpy(golden["eval/aux_out"]), atol=1e-4, rtol=1e-4)
        encoding = network.encode(torch.from_numpy(golden["x_train"]))
        items = network.write(encoding.features, torch.from_numpy(golden["y_train"]).long())
        torch.testing.assert_close(items, torch.from_numpy(golden["eval_write/m_items"]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_training_losses_and_gradients_in_float64(shared: Path, name: str) -> None:
    """Every loss term, the written memory and a digest of every parameter's gradient."""
    golden = np.load(shared / "golden" / f"net_{name}.npz")
    meta = json.loads(str(golden["meta_json"]))
    network = golden_numbers.segmenter(*NETWORKS[name])
    golden_numbers.load_state(network, shared, name, 77, golden_numbers.buffers(golden, "buf/"), golden["m_items"])
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
    for term, expected in meta["train_f64/losses"].items():
        if term in terms:
            assert float(terms[term]) == pytest.approx(expected, rel=1e-9), term
    np.testing.assert_allclose(items.detach().numpy(), golden["train_f64/m_items"], rtol=1e-8, atol=1e-10)
    total = terms["main"] + 0.4 * terms["aux"] + 0.02 * terms["read"] + 0.4 * terms["div"] + 0.2 * terms["cls"]
    total.backward()
    digest = golden_numbers.fill_module(shared).digest
    gradients = {k: p.grad for k, p in network.named_parameters()}
    for i, released in enumerate(meta["grad_names"]):
        norm, projections, _ = digest(released, gradients[golden_numbers.ours(released)].numpy())
        scale = max(golden["train_f64/grad/norm"][i], 1e-6)
        assert abs(norm - golden["train_f64/grad/norm"][i]) <= 1e-8 * scale, released
        assert np.abs(projections - golden["train_f64/grad/proj"][i]).max() <= 1e-8 * scale, released
