"""MetaSegNet over domains: its gradient, what its scores depend on, and the head that is solved on all sources."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from pin_memory.methods.batches import DomainBatch, merge
from pin_memory.methods.losses import auxiliary_loss, cross_entropy
from pin_memory.utils.errors import NonFiniteError
from tests.helpers.stepping import MetaSegNetDGByHand
from tests.helpers.tiny import ridge_segmenter, tiny_batch

SGD = partial(torch.optim.SGD, lr=0.01)


def made(**options: Any) -> MetaSegNetDGByHand:
    """The method on the tiny network in float64."""
    method = MetaSegNetDGByHand(ridge_segmenter().double(), **{"optimizer": SGD, **options}).prepare()
    assert isinstance(method, MetaSegNetDGByHand)
    return method


def doubled(batch: DomainBatch) -> DomainBatch:
    """The batch with images in float64."""
    return {name: part | {"image": part["image"].double()} for name, part in batch.items()}


def test_the_gradient_is_that_of_the_query_loss_through_the_solution() -> None:
    """Central differences along random directions of all parameters, λ and α among them; β has no effect."""
    method, batch = made(train_statistics="domain"), doubled(tiny_batch())
    network = copy.deepcopy(method.network)
    train, test = method.split(list(batch), 0)
    support, query = merge(batch, train), merge(batch, test)
    method.training_step(batch, 0)

    def objective(direction: dict[str, Tensor], step: float) -> float:
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter.add_(step * direction[name])
            x = moved.encode(support.images).features.permute(0, 2, 3, 1).reshape(-1, 6)
            x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
            counts = torch.zeros(len(x), 4, dtype=torch.float64)
            for number, label in enumerate(support.labels.reshape(-1, 2, 8, 2, 8).transpose(2, 3).reshape(len(x), 64)):
                counts[number] = label[label != 255].bincount(minlength=4).double()
            d, n = counts.sum(dim=1, keepdim=True), counts.sum()
            memory: Any = moved.memory
            w = torch.linalg.solve(x.T @ (d * x) / n + memory.log_lambda.exp() * torch.eye(7).double(), x.T @ counts / n)
            encoding = moved.encode(query.images)
            scores = memory.scale * (torch.einsum("bdhw,dk->bkhw", encoding.features, w[:-1]) + w[-1, :, None, None]) + memory.shift
            scores = torch.nn.functional.interpolate(scores, size=(16, 16), mode="bilinear", align_corners=True)
            loss = cross_entropy(scores, query.labels) + 0.4 * auxiliary_loss(moved.auxiliary(encoding), query.labels)
        return float(loss)

    assert method.terms["total"] == pytest.approx(objective(method.gradients, 0.0), rel=1e-12)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        direction = {n: torch.randn(v.shape, generator=generator, dtype=torch.float64) for n, v in method.gradients.items()}
        numeric = (objective(direction, 1e-7) - objective(direction, -1e-7)) / 2e-7  # small, or the step crosses kinks of the ReLUs
        analytic = float(sum((method.gradients[n] * v).sum() for n, v in direction.items()))
        assert analytic == pytest.approx(numeric, rel=1e-5)
    assert method.gradients["memory.log_lambda"] != 0
    assert method.gradients["memory.scale"] != 0
    assert abs(method.gradients["memory.shift"]) < 1e-12


@pytest.mark.parametrize("statistics", ["domain", "mixture", "frozen"])
def test_no_label_of_the_query_leaks_into_the_scores(statistics: str) -> None:
    """Other labels of the meta-test domains, other loss, but the same head bit by bit; other labels of the support, another head."""
    heads, losses = {}, {}
    for changed in ("none", "query", "support"):
        method, batch = made(train_statistics=statistics), doubled(tiny_batch())
        train, test = method.split(list(batch), 0)
        for name in {"query": test, "support": train}.get(changed, []):
            batch[name]["label"] = (batch[name]["label"] + 1) % 4
        method.training_step(batch, 0)
        heads[changed], losses[changed] = method.memory.items, method.terms["segmentation"]
    assert torch.equal(heads["none"], heads["query"])
    assert losses["none"] != losses["query"]
    assert not torch.equal(heads["none"], heads["support"])


def test_the_head_of_all_sources() -> None:
    """The sum over batches is the write of all images at once, without their effect on running statistics; once for an iteration."""
    method, batches = made(solve_batches=2), [doubled(tiny_batch(images=2 + n)) for n in range(3)]
    passes = []

    def source_batches(number: int) -> Iterator[DomainBatch]:
        passes.append(number)
        yield from batches

    method.source_batches = source_batches  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in method.network.state_dict().items()}
    method.solve_on_sources()
    method.solve_on_sources()
    assert passes == [0]
    assert method.network.training
    images, labels = (torch.cat(parts) for parts in zip(*(merge(batch)[:2] for batch in batches[:2]), strict=True))
    network = copy.deepcopy(method.network).eval()
    torch.testing.assert_close(method.memory.items, network.write(network.encode(images).features, labels).detach())
    for name, value in method.network.state_dict().items():
        assert torch.equal(value, before[name]) == (name != "memory.items"), name
    method.training_step(batches[0], 0)
    with torch.no_grad():
        method.memory.log_lambda.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="head solved on the sources is not finite"):
        method.solve_on_sources()


def test_a_step_that_is_left_out_stores_no_head() -> None:
    method, batch = made(on_non_finite="skip"), doubled(tiny_batch())
    method.training_step(batch, 0)
    before = {name: value.clone() for name, value in method.state_dict().items()}
    batch["a"]["image"][0, 0, 0, 0] = torch.inf
    method.on_train_batch_start(batch, 1)
    method.training_step(batch, 1)
    assert method.finite.skipped["steps"] == 1
    for name, value in method.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("statistics", ["domain", "mixture"])
def test_moments_of_the_iterations_before_count_on(statistics: str) -> None:
    """The head of each iteration is that of a loop over all images so far, of this iteration's meta-train domains alone."""
    method = made(momentum=0.5, train_statistics=statistics, optimizer=partial(torch.optim.SGD, lr=0.0))
    past: dict[str, list[tuple[Tensor, Tensor]]] = {"a": [], "b": [], "c": []}
    for number in range(4):
        batch = doubled(tiny_batch(images=2 + number))
        train, test = method.split(list(batch), method.iteration)
        network = copy.deepcopy(method.network)
        for names in [list(batch)] if statistics == "mixture" else [train, test]:
            features = network.encode(merge(batch, names).images).features.detach()
            for name, part in zip(names, features.split([2 + number] * len(names)), strict=True):
                past[name].append((part, batch[name]["label"]))
        method.training_step(batch, number)
        gram, cross, n = torch.zeros(7, 7).double(), torch.zeros(7, 4).double(), 0.0
        for name in train:
            for age, (features, labels) in enumerate(reversed(past[name])):
                x = features.repeat_interleave(8, 2).repeat_interleave(8, 3).permute(0, 2, 3, 1)[labels != 255]
                x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
                y = torch.nn.functional.one_hot(labels[labels != 255], 4).double()
                gram, cross, n = gram + 0.5**age * x.T @ x, cross + 0.5**age * x.T @ y, n + 0.5**age * len(x)
        expected = torch.linalg.solve(gram / n + method.memory.log_lambda.detach().exp() * torch.eye(7).double(), cross / n)
        torch.testing.assert_close(method.memory.items, expected.T, rtol=1e-9, atol=1e-12)


def test_a_class_that_no_support_has_shown_counts_for_nothing() -> None:
    """Query pixels of such a class are as if they had no label; once its domain has been support, they count."""
    losses = []
    for label in (3, 255):
        method, batch = made(), doubled(tiny_batch())
        train, test = method.split(list(batch), 0)
        for name in train:
            batch[name]["label"][batch[name]["label"] == 3] = 255
        for name in test:
            batch[name]["label"][batch[name]["label"] == 3] = label
        method.network.auxiliary_head = None
        method.training_step(batch, 0)
        losses.append(method.terms["segmentation"])
    assert losses[0] == losses[1]


def test_the_moments_are_in_a_checkpoint() -> None:
    """Another method that loads the state makes the same next step, and loses them with a state from before; momentum 0 keeps nothing."""
    first, batch = made(), doubled(tiny_batch())
    fresh = {name: value.clone() for name, value in first.state_dict().items()}
    first.training_step(batch, 0)
    second = made()
    second.load_state_dict(first.state_dict())
    second.steps = first.steps
    for method in (first, second):
        method.training_step(batch, 1)
    assert torch.equal(first.memory.items, second.memory.items)
    assert any(name.startswith("running.gram_") for name in first.state_dict())
    second.load_state_dict(fresh)
    assert second.state_dict().keys() == fresh.keys()
    forgetful = made(momentum=0.0)
    forgetful.training_step(batch, 0)
    assert not any(name.startswith("running.") for name in forgetful.state_dict())


def test_the_moments_of_domains_with_a_dot_in_their_names() -> None:
    """They are kept as those of other names are, apart from each other, and loaded."""
    states = []
    for names in (("v1.2", "v1%2E2", "v1_2"), ("a", "b", "c")):
        method, again = made(), made()
        batch = doubled(dict(zip(names, tiny_batch().values(), strict=True)))
        method.training_step(batch, 0)
        again.load_state_dict(method.state_dict())
        again.steps = method.steps
        again.training_step(batch, 1)
        states.append([value for name, value in again.state_dict().items() if name.startswith("running.")])
    assert len(states[0]) == 12
    for found, expected in zip(*states, strict=True):
        assert torch.equal(found, expected)


def blobs(shift: float) -> dict[str, Any]:
    """Images of four colours in squares of eight pixels, brighter by `shift`, with their classes."""
    generator = torch.Generator().manual_seed(int(10 * shift))
    cells = torch.randint(0, 4, (4, 4, 4), generator=generator)
    label = cells.repeat_interleave(8, 1).repeat_interleave(8, 2)
    colours = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]]) + shift
    return {"image": colours[label].permute(0, 3, 1, 2), "label": label, "name": ["blobs"] * 4}


def test_it_learns_what_can_be_separated() -> None:
    """Coloured squares under three lights, in thirty steps; evaluated under a fourth light with the head of the other three."""
    options: Any = {"momentum": 0.0, "train_statistics": "domain"}  # features that move this fast are served by their newest moments
    method = MetaSegNetDGByHand(ridge_segmenter(), partial(torch.optim.Adam, lr=0.02), **options).prepare()
    assert isinstance(method, MetaSegNetDGByHand)
    batch = {name: blobs(shift) for name, shift in (("a", 0.0), ("b", 0.2), ("c", 0.4))}
    for number in range(30):
        method.training_step(batch, number)
    method.source_batches = lambda number: iter([batch])  # type: ignore[method-assign]
    method.solve_on_sources()
    target = blobs(0.3)
    method.eval()
    with torch.no_grad():
        scores = method.network.read(method.network.encode(target["image"]).features).similarity
    assert (scores.argmax(dim=1) == target["label"][:, 4::8, 4::8]).float().mean() > 0.95


@pytest.mark.parametrize("poor", ["support", "query", "everything", "black", "one class"])
def test_poor_batches_stay_finite(poor: str) -> None:
    """Sides without a label, a black domain, a single class: losses, gradients, weights and head, under autocast."""
    method = MetaSegNetDGByHand(ridge_segmenter(), SGD).prepare()
    assert isinstance(method, MetaSegNetDGByHand)
    for number in range(2):
        batch = tiny_batch()
        train, test = method.split(list(batch), method.iteration)
        for name in {"support": train, "query": test, "everything": list(batch)}.get(poor, []):
            batch[name]["label"].fill_(255)
        for part in batch.values() if poor == "one class" else ():
            part["label"].clamp_(max=0)
        if poor == "black":
            batch["a"]["image"].zero_()
        with torch.autocast("cpu", torch.bfloat16):
            method.training_step(batch, number)
        values = [*method.gradients.values(), *method.state_dict().values()]
        assert all(torch.isfinite(value).all() for value in values)
        assert all(value == value and abs(value) < 100 for value in method.terms.values())
    assert method.memory.initialised == (poor not in ("support", "everything"))
