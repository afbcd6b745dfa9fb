"""A memory that starts from text: the starts, anchored writes and their fixed points, and the structure loss."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pin_memory.memory import CategoricalMemory, TextPrototypes
from pin_memory.memory.geometry import gram, procrustes
from pin_memory.memory.operations import momentum_write
from pin_memory.methods import MemoryStart
from pin_memory.methods.losses import memory_structure
from pin_memory.runs.checkpoints import load_method
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.poisoned_run import load, run, same
from tests.helpers.resumption import Killed
from tests.helpers.stepping import ByHand, ERMMemoryByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

K, C = 4, 6
SGD = partial(torch.optim.SGD, lr=0.05)


@pytest.fixture
def text() -> TextPrototypes:
    """Rows that are no simplex."""
    found = TextPrototypes(num_classes=K, dim=9, rows="random", centred=False)
    found.rows = unit(torch.randn(K, 9, generator=torch.Generator().manual_seed(3)) + 0.5)
    return found


def unit(rows: Tensor) -> Tensor:
    """At length 1."""
    return rows / rows.norm(dim=1, keepdim=True)


def features(unseen: tuple[int, ...] = ()) -> Tensor:
    """Mean features of the classes, zeros for those that are not seen."""
    found = unit(torch.randn(K, C, generator=torch.Generator().manual_seed(2)))
    found[list(unseen)] = 0
    return found


def cosine(one: Tensor, other: Tensor) -> float:
    """Of two vectors."""
    return float(one @ other / (one.norm() * other.norm()))


def written(times: int, momentum: float, anchor_weight: float = 0.0, length: float = 1.0) -> float:
    """Cosine to text after so many writes of one prototype at right angles to it."""
    item = anchor = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    prototype, seen = torch.tensor([[0.0, length]], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for _ in range(times):
        item = momentum_write(item, prototype, seen, momentum, anchor, anchor_weight)
    return float(item[0, 0])


@pytest.mark.parametrize(("times", "left"), [(1, 0.9701), (5, 0.5601), (10, 0.1970), (20, 0.0213)])
def test_writes_forget_text_without_an_anchor(times: int, left: float) -> None:
    assert round(written(times, momentum=0.8), 4) == left


@pytest.mark.parametrize(("anchor_weight", "kept"), [(0.1, 0.71), (0.05, 0.32), (0.2, 1.0)])
def test_anchored_writes_end_where_text_and_prototype_balance(anchor_weight: float, kept: float) -> None:
    assert round(written(300, 0.8, anchor_weight), 2) == kept


def test_the_fixed_point_leans_to_text_where_prototypes_are_short() -> None:
    """A prototype is a mean of unit vectors, shorter the more they differ."""
    share = 0.15 * 0.6
    assert written(300, 0.8, 0.05, length=0.6) == pytest.approx(0.05 / math.hypot(0.05, share), abs=1e-9)


def test_an_anchored_write_is_the_formula_class_by_class() -> None:
    torch.manual_seed(0)
    memory = CategoricalMemory(K, C, momentum=0.7, anchor_weight=0.2).double()
    items, anchor = unit(torch.randn(K, C).double()), unit(torch.randn(K, C).double())
    memory.anchor.copy_(anchor)
    memory.commit(items)
    maps, labels = torch.randn(2, C, 4, 4).double(), torch.arange(32).view(2, 4, 4) % (K - 1)
    found, plain = memory.write(maps, labels), CategoricalMemory(K, C, momentum=0.7).double()
    vectors = unit(memory.update(maps).transpose(0, 1).flatten(1).T)
    for k in range(K - 1):
        cells = vectors[labels.flatten() == k]
        expected = 0.7 * items[k] + 0.1 * cells.mean(dim=0) + 0.2 * anchor[k]
        torch.testing.assert_close(found[k], expected / expected.norm(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found[K - 1], items[K - 1])  # no class that is not seen is moved
    assert "anchor" in memory.state_dict()
    assert "anchor" not in plain.state_dict()


def test_text_starts_in_a_frame_of_its_own(text: TextPrototypes) -> None:
    items, anchor = MemoryStart("text", text, seed=1).items(torch.zeros(K, C))
    assert torch.equal(items, anchor)
    torch.testing.assert_close(items @ items.T, text.rows @ text.rows.T, rtol=0, atol=1e-6)
    assert not torch.allclose(items, MemoryStart("text", text, seed=2).items(torch.zeros(K, C))[0], atol=0.1)


def test_text_starts_next_to_the_features(text: TextPrototypes) -> None:
    items, anchor = MemoryStart("procrustes", text).items(features((1,)))
    assert torch.equal(items, anchor)
    torch.testing.assert_close(items, procrustes(text.rows, features((1,))))
    assert items[1].norm() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("blend", [0.0, 0.3, 1.0])
def test_text_and_features_start_together(text: TextPrototypes, blend: float) -> None:
    seen = features((1, 3))
    items, anchor = MemoryStart("blend", text, blend=blend).items(seen)
    turned = procrustes(text.rows, seen)
    assert anchor is not None
    torch.testing.assert_close(anchor, turned)
    for k in range(K):
        expected = turned[k] if k in (1, 3) else (1 - blend) * seen[k] + blend * turned[k]
        torch.testing.assert_close(items[k], expected / expected.norm(), rtol=0, atol=1e-6)


def test_features_stay_what_they_are(text: TextPrototypes) -> None:
    """Text is the anchor then, if there is one."""
    for given in (None, text):
        items, anchor = MemoryStart("features", given).items(features((1,)))
        assert torch.equal(items, features((1,)))
        assert anchor is None if given is None else torch.equal(anchor, procrustes(text.rows, features((1,))))


def test_starts_without_text_are_refused() -> None:
    for kind in ("text", "procrustes", "blend"):
        with pytest.raises(ConfigurationError, match="needs text"):
            MemoryStart(kind)
    empty = TextPrototypes(num_classes=K, dim=9, rows="checkpoint")
    with pytest.raises(ConfigurationError, match=r"text\.rows=checkpoint"):
        MemoryStart("text", empty).items(features())


def test_structure_is_one_minus_the_cosine_of_the_gram_matrices() -> None:
    items, target = unit(torch.randn(K, C).double()).requires_grad_(), gram(unit(torch.randn(K, 9).double()))
    dot = squares = others = 0.0
    centred = items.detach() - sum(items.detach()) / K
    for i in range(K):
        for j in range(K):
            value = cosine(centred[i], centred[j])
            dot, squares, others = dot + value * float(target[i, j]), squares + value**2, others + float(target[i, j]) ** 2
    assert float(memory_structure(items.detach(), target)) == pytest.approx(1 - dot / math.sqrt(squares * others), abs=1e-12)
    assert torch.autograd.gradcheck(lambda rows: memory_structure(rows, target), items)
    assert torch.autograd.gradgradcheck(lambda rows: memory_structure(rows, target), items)


def test_structure_does_not_see_where_items_lie_but_which_is_which(text: TextPrototypes) -> None:
    target, turned = gram(text.rows), procrustes(text.rows, features())
    assert float(memory_structure(turned, target)) == pytest.approx(0, abs=1e-6)
    assert float(memory_structure(turned.flip(0), target)) > 0.05


def test_a_class_without_an_item_has_no_say_in_the_structure() -> None:
    """The loss is that of the others, and neither its value nor its gradient knows of the zero row."""
    rows, target = unit(torch.randn(K, C).double()), gram(unit(torch.randn(K, 9).double()))
    others = [k for k in range(K) if k != 1]
    some = rows[others].requires_grad_()
    alone = 1 - torch.nn.functional.cosine_similarity(gram(some).flatten(), target[others][:, others].flatten(), dim=0)
    rows[1] = 0
    rows.requires_grad_()
    loss = memory_structure(rows, target)
    assert float(loss.detach()) == pytest.approx(float(alone.detach()), abs=1e-12)
    (gradient,), (expected,) = torch.autograd.grad(loss, [rows]), torch.autograd.grad(alone, [some])
    torch.testing.assert_close(gradient[others], expected)
    assert not gradient[1].any()
    rows = torch.cat([rows.detach()[:1], torch.zeros(K - 1, C).double()]).requires_grad_()
    (gradient,) = torch.autograd.grad(memory_structure(rows, target), rows)
    assert gradient.isfinite().all()  # of a single class, whose structure says nothing


def test_structure_is_computed_in_float32(text: TextPrototypes) -> None:
    items, target = features(), gram(text.rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = memory_structure(items, target)
    assert torch.equal(found, memory_structure(items, target))


@pytest.mark.parametrize("kind", [ERMMemoryByHand, PinTheMemoryByHand])
def test_the_losses_of_a_step(kind: type[ByHand], text: TextPrototypes) -> None:
    """The weight adds the structure of what is written to the total; a weight of 0 changes no bit."""
    found = {}
    for weight in (None, 0.0, 2.0):
        options = {} if weight is None else {"start": MemoryStart("blend", text), "weights": {"structure": weight}}
        method = kind(tiny_segmenter(), SGD, **options).prepare()
        method.training_step(tiny_batch(), 0)
        found[weight] = method.terms, {name: value.clone() for name, value in method.network.state_dict().items()}
    total = "total" if kind is ERMMemoryByHand else "inner"
    assert same(found[None], found[0.0])
    terms, _ = found[2.0]
    assert terms["structure"] > 0.01
    assert terms[total] == pytest.approx(found[None][0][total] + 2 * terms["structure"], rel=1e-5)
    assert not same(found[0.0][1], found[2.0][1])


def test_an_anchored_memory_is_started_with_its_anchor(text: TextPrototypes) -> None:
    method = ERMMemoryByHand(tiny_segmenter(anchor_weight=0.1), SGD, start=MemoryStart("blend", text, blend=0.25)).prepare()
    plain = ERMMemoryByHand(tiny_segmenter(), SGD).prepare()
    plain.initialise_memory([tiny_batch()])
    method.initialise_memory([tiny_batch()])
    turned = procrustes(text.rows, plain.memory.items)
    torch.testing.assert_close(method.memory.anchor, turned)
    torch.testing.assert_close(method.memory.items, unit(0.75 * plain.memory.items + 0.25 * turned))
    method.training_step(tiny_batch(), 0)
    torch.testing.assert_close(method.memory.anchor, turned)  # which no write moves


ANCHORED = ["+memory_start=procrustes", "network.memory.anchor_weight=0.1", "method.weights.structure=0.3"]
KILLED = "+callbacks.disturbance={_target_:tests.helpers.resumption.Disturbance,hook:on_train_batch_end,step:2,kind:kill}"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["erm_memory", "pin_the_memory"])
def test_a_run_is_resumed_bit_by_bit_and_loads_without_the_file(data: Path, tmp_path: Path, method: str) -> None:
    text = tmp_path / "text.npy"
    np.save(text, unit(torch.randn(19, 512, generator=torch.Generator().manual_seed(0))).half().numpy())
    settings = [*ANCHORED, f"text.path={text}", "callbacks.last.every=1", "network.channels=24"]
    run(data, tmp_path / "whole", *settings, method=method)
    with pytest.raises(Killed):
        run(data, tmp_path / "cut", *settings, KILLED, method=method)
    text.unlink()
    with pytest.raises(Exception, match="no such file"):
        run(data, tmp_path / "cut", *settings, f"resume={tmp_path / 'cut'}", method=method)
    run(data, tmp_path / "cut", *settings, "text.rows=checkpoint", f"resume={tmp_path / 'cut'}", method=method)
    whole, cut = (load(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "cut"))
    assert same(whole["state_dict"], cut["state_dict"])
    assert same(whole["optimizer_states"], cut["optimizer_states"])
    found = load_method(tmp_path / "whole" / "checkpoints" / "last.ckpt", ["tests"]).method
    assert same(dict(found.state_dict()), whole["state_dict"])
    assert found.text_gram.any()
    assert found.memory.anchor.any()
