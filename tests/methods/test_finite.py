"""Numbers that are not finite stop a run, or are left out, before they reach the state; and nothing ordinary gives such numbers."""

import csv
import json
import logging
import math
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from pin_memory.methods import Method
from pin_memory.methods.batches import DomainSplit
from pin_memory.methods.finite import FiniteCheck, Found, Problem
from pin_memory.methods.whitening import InstanceSelectiveWhitening
from pin_memory.networks import MemorySegmenter, ResNetBackbone
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from tests.helpers.poison import Poison
from tests.helpers.poisoned_run import load, run, same
from tests.helpers.stepping import ByHand, ERMByHand, ERMMemoryByHand, MLDGByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)


@pytest.mark.parametrize(("method", "fault_at"), [("pin_the_memory", 2), pytest.param("erm", 3, marks=pytest.mark.slow)])
def test_a_bad_step_stops_the_run_and_can_be_made_again(data: Path, tmp_path: Path, method: str, fault_at: int) -> None:
    """The message names iteration, term and files; the checkpoint is the state before, bit by bit, and resuming from it without the fault
    ends where the run without a fault ends."""
    intact = load(run(data, tmp_path / "intact", method=method) / "checkpoints" / "last.ckpt")
    before = Poison.states[fault_at]
    with pytest.raises(NonFiniteError) as caught:
        run(data, tmp_path / "bad", f"+callbacks.poison.iteration={fault_at}", method=method)
    message = str(caught.value)
    for part in (f"Iteration {fault_at + 1} ", "segmentation is nan", "gradient of backbone.low.0.weight (of", "method.on_non_finite=skip"):
        assert part in message
    assert str(data / "gtav" / "images") in message
    kept = tmp_path / "bad" / "checkpoints" / "before_non_finite.ckpt"
    content = load(kept)
    assert content["global_step"] == fault_at
    assert same(content["state_dict"], before["model"])
    assert same(content["optimizer_states"][0], before["optimizer"])

    again = load(run(data, tmp_path / "again", f"resume={kept}", method=method) / "checkpoints" / "last.ckpt")
    assert again["global_step"] == 4
    assert same(again["state_dict"], intact["state_dict"])
    assert same(again["optimizer_states"], intact["optimizer_states"])


@pytest.mark.parametrize(("method", "expected"), [("erm", "finite: gradient of decoder."), ("mldg", "finite: inner gradient of decoder.")])
def test_an_infinite_gradient_is_named_by_its_parameter(data: Path, tmp_path: Path, method: str, expected: str) -> None:
    """What went wrong first comes first; nothing of the step is left in the state."""
    with pytest.raises(NonFiniteError, match=re.escape(expected)):
        run(data, tmp_path / "bad", "+callbacks.poison.iteration=1", "+callbacks.poison.kind=gradient", method=method)
    content = load(tmp_path / "bad" / "checkpoints" / "before_non_finite.ckpt")
    assert same(content["state_dict"], Poison.states[1]["model"])


@pytest.mark.parametrize("fault_at", [1, 3])  # found by the next step; found at the end
def test_a_bad_memory_write_is_dropped_and_reported_with_its_class(data: Path, tmp_path: Path, fault_at: int) -> None:
    """The step before it stands, the memory is as it was, and the iteration of the write is named."""
    with pytest.raises(NonFiniteError, match=rf"Iteration {fault_at + 1} .*memory row 3 \(wall\)"):
        run(data, tmp_path / "bad", f"+callbacks.poison.iteration={fault_at}", "+callbacks.poison.kind=memory")
    content = load(tmp_path / "bad" / "checkpoints" / "before_non_finite.ckpt")
    assert content["global_step"] == fault_at + 1
    before = Poison.states[fault_at]["model"]
    assert torch.equal(content["state_dict"]["network.memory.items"], before["network.memory.items"])
    assert not torch.equal(content["state_dict"]["network.backbone.low.0.weight"], before["network.backbone.low.0.weight"])
    if fault_at + 1 in Poison.states:
        assert same(content["state_dict"], Poison.states[fault_at + 1]["model"])


@pytest.mark.parametrize("kind", ["image", "memory"])
def test_a_bad_step_is_left_out_and_counted(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """The iteration passes without a trace in the state but its number; the run comes to its end, and says and counts what it left out."""
    options = ["+callbacks.poison.iteration=1", f"+callbacks.poison.kind={kind}", "method.on_non_finite=skip"]
    with caplog.at_level(logging.WARNING):
        folder = run(data, tmp_path / "run", *options)
    content = load(folder / "checkpoints" / "last.ckpt")
    before, after = Poison.states[1], Poison.states[2]
    changed = {name for name, value in before["model"].items() if not torch.equal(value, after["model"][name])}
    if kind == "image":
        assert not changed
        assert same(before["optimizer"]["state"], after["optimizer"]["state"])
        assert before["optimizer"]["param_groups"][0]["lr"] > after["optimizer"]["param_groups"][0]["lr"]
        assert "The step was not made" in caplog.text
    else:
        assert "network.memory.items" not in changed
        assert "network.backbone.low.0.weight" in changed
        assert "That memory write was dropped" in caplog.text
    assert content["skipped"] == {"steps": int(kind == "image"), "memory_writes": int(kind == "memory")}
    assert json.loads(folder.with_suffix(".json").read_text())["skipped"] == content["skipped"]
    assert content["global_step"] == 4
    assert int(content["state_dict"]["images_seen"]) == (3 if kind == "image" else 4) * 6
    assert all(value.isfinite().all() for value in content["state_dict"].values())
    rows = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["skipped/steps"]]
    assert [float(row["skipped/steps"]) for row in rows] == [0, *[float(kind == "image")] * 3]
    assert not (folder / "checkpoints" / "before_non_finite.ckpt").exists()


@pytest.mark.parametrize("kind", ["image", "memory"])
def test_the_last_step_is_counted_once(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """No other step follows; the end of training and the last checkpoint look as well. All of them tell one fault."""
    options = ["+callbacks.poison.iteration=3", f"+callbacks.poison.kind={kind}", "method.on_non_finite=skip"]
    with caplog.at_level(logging.WARNING):
        folder = run(data, tmp_path / "run", *options)
    counted = {"steps": int(kind == "image"), "memory_writes": int(kind == "memory")}
    assert json.loads(folder.with_suffix(".json").read_text())["skipped"] == counted
    assert load(folder / "checkpoints" / "last.ckpt")["skipped"] == counted
    assert caplog.text.count("Iteration 4 has numbers that are not finite") == 1


@pytest.mark.slow
def test_a_checkpoint_counts_the_memory_write_before_it(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever becomes of the run then: a run that is resumed from there does not see that write."""
    every = ["callbacks.last.every=1", "callbacks.last.keep=9", "method.on_non_finite=skip"]
    with caplog.at_level(logging.WARNING):
        folder = run(data, tmp_path / "run", "+callbacks.poison.iteration=0", "+callbacks.poison.kind=memory", *every)
    assert caplog.text.count("That memory write was dropped") == 1
    saved = {name: load(folder / "checkpoints" / name) for name in ("step-1.ckpt", "step-2.ckpt", "last.ckpt")}
    assert all(content["skipped"] == {"steps": 0, "memory_writes": 1} for content in saved.values())
    again = run(data, tmp_path / "again", f"resume={folder / 'checkpoints' / 'step-1.ckpt'}", *every)
    assert json.loads(again.with_suffix(".json").read_text())["skipped"] == {"steps": 0, "memory_writes": 1}
    assert same(load(again / "checkpoints" / "last.ckpt")["state_dict"], saved["last.ckpt"]["state_dict"])


@pytest.mark.slow
@pytest.mark.parametrize("fault_at", [0, 1, 2])  # at the start; where a validation follows; after it
def test_a_run_is_resumed_after_a_bad_memory_write(data: Path, tmp_path: Path, fault_at: int) -> None:
    """It ends before the next checkpoint, and from its state the rest is what follows the dropped write."""
    fault = [f"+callbacks.poison.iteration={fault_at}", "+callbacks.poison.kind=memory", "callbacks.last.every=1"]
    left_out = run(data, tmp_path / "left_out", *fault, "method.on_non_finite=skip")
    with pytest.raises(NonFiniteError, match=rf"Iteration {fault_at + 1} .*memory row 3"):
        run(data, tmp_path / "bad", *fault)
    folder = tmp_path / "bad" / "checkpoints"
    assert not (folder / "last.ckpt").exists() or load(folder / "last.ckpt")["global_step"] == fault_at
    again = run(data, tmp_path / "again", f"resume={folder / 'before_non_finite.ckpt'}")
    first, second = (load(place / "checkpoints" / "last.ckpt") for place in (left_out, again))
    assert first["global_step"] == second["global_step"] == 4
    assert same(first["state_dict"], second["state_dict"])


def test_iterations_in_a_row_are_counted_by_their_numbers() -> None:
    """Whenever they are reported: a write before a checkpoint or with the next step."""
    finite, problem = FiniteCheck("skip"), partial(Problem, terms=["x"], images={})
    for iteration in (1, 2):
        finite.handle(Found(write=problem(iteration)), None, in_step=True)
    assert finite.in_a_row == 2
    finite.handle(Found(step=problem(4), write=problem(3)), None, in_step=True)
    assert (finite.in_a_row, finite.skipped) == (4, {"steps": 1, "memory_writes": 3})
    finite.handle(Found(step=problem(6)), None, in_step=True)
    assert (finite.in_a_row, finite.skipped) == (1, {"steps": 2, "memory_writes": 3})


def test_files_are_listed_once_and_by_the_first_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Listing a large data set takes seconds."""
    listed: list[str] = []

    class Source(SimpleNamespace):
        def dataset(self, split: str) -> Any:
            listed.append(split)
            return SimpleNamespace(samples=[SimpleNamespace(name="x", image=Path("/data/x.png"))])

    finite, data = FiniteCheck("skip"), SimpleNamespace(sources={"a": Source(), "b": Source()})
    found = Found(step=Problem(1, ["loss term total is nan"], {"a": ["x"]}))
    monkeypatch.setattr("pin_memory.methods.finite.is_first", lambda: False)
    finite.handle(found, data, in_step=True)
    assert not listed
    monkeypatch.setattr("pin_memory.methods.finite.is_first", lambda: True)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            finite.handle(found, data, in_step=True)
    assert caplog.text.count("Images of a: /data/x.png") == 3
    assert listed == ["train"]


class Buffers(nn.Module):
    """Of several types, one of them empty, one seen twice."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(3, 4).t())
        self.register_buffer("number", torch.tensor(5))
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("brief", torch.randn(2).bfloat16())
        self.register_buffer("empty", torch.zeros(0))
        self.norm = nn.BatchNorm1d(4)
        self.again = self.norm

    def spoil(self) -> None:
        for buffer in self.buffers():
            buffer.copy_(torch.full_like(buffer, float("nan") if buffer.is_floating_point() else 0))


def test_running_statistics_are_kept_in_the_same_copies_and_put_back() -> None:
    """Also after their number, size and type have changed."""
    network, finite = Buffers(), FiniteCheck("skip")
    bad = Found(step=Problem(1, ["x"], {}))
    copies = []
    for _ in range(2):
        network.norm(torch.randn(6, 4))
        before = {name: value.clone() for name, value in network.named_buffers()}
        finite.start(network, {}, 0)
        copies.append([copy.data_ptr() for copy in finite._copies])
        network.spoil()
        finite.handle(bad, None, in_step=True)
        assert same(dict(network.named_buffers()), before)
    assert copies[0] == copies[1]
    network.register_buffer("mask", torch.ones(3, 3, dtype=torch.bool))
    network.register_buffer("brief", torch.randn(2))
    network.register_buffer("new", torch.randn(2))
    del network.number
    before = {name: value.clone() for name, value in network.named_buffers()}
    finite.start(network, {}, 1)
    network.spoil()
    finite.handle(bad, None, in_step=True)
    assert same(dict(network.named_buffers()), before)


@pytest.mark.parametrize("kind", ["image", "memory"])
@pytest.mark.parametrize("in_step", [True, False])
def test_a_stopped_run_keeps_the_running_statistics_of_a_completed_iteration(kind: str, in_step: bool) -> None:
    """A bad memory write that is found after its iteration stops the run there; one found by the next step ends in the state before."""
    network, finite = Buffers(), FiniteCheck("raise")
    problem = Problem(1, ["x"], {})
    finite.start(network, {}, 0)
    before = {name: value.clone() for name, value in network.named_buffers()}
    network.norm(torch.randn(6, 4))
    with pytest.raises(NonFiniteError):
        finite.handle(Found(step=problem) if kind == "image" else Found(write=problem), None, in_step=in_step)
    assert same(dict(network.named_buffers()), before) == (kind == "image" or in_step)


def test_weights_that_give_nothing_finite_end_the_run_even_so(data: Path, tmp_path: Path) -> None:
    """Steps are not left out for ever."""
    options = ["+callbacks.poison.iteration=-1", "method.on_non_finite=skip", "trainer.max_steps=12", "trainer.val_check_interval=20"]
    with pytest.raises(NonFiniteError, match="10 iterations in a row"):
        run(data, tmp_path / "run", *options, method="erm")
    assert load(tmp_path / "run" / "checkpoints" / "before_non_finite.ckpt")["skipped"]["steps"] == 10


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_step_left_out_does_not_touch_momentum(optimizer: Any) -> None:
    """Neither weight decay nor momentum act; the schedule continues."""
    method = ERMByHand(tiny_segmenter(memory=False), partial(optimizer, lr=0.1, weight_decay=0.1), on_non_finite="skip").prepare()
    batch = tiny_batch()
    method.training_step(batch, 0)
    before = {name: value.clone() for name, value in method.network.named_parameters()}
    state = [{k: torch.as_tensor(v).clone() for k, v in entry.items()} for entry in method.optimizers().state.values()]
    method.on_train_batch_start(batch, 1)
    method.log_losses(segmentation=torch.tensor(float("nan")))
    method.step_optimizer({name: torch.ones_like(value) for name, value in before.items()}, 9)
    assert all(torch.equal(value, before[name]) for name, value in method.network.named_parameters())
    assert same([{k: torch.as_tensor(v) for k, v in entry.items()} for entry in method.optimizers().state.values()], state)
    assert method.finite.skipped == {"steps": 1, "memory_writes": 0}


def test_only_two_policies_and_positive_norms() -> None:
    """Anything else is refused with the choices."""
    with pytest.raises(ConfigurationError, match=r"method\.on_non_finite must be 'raise' or 'skip'"):
        ERMByHand(tiny_segmenter(memory=False), SGD, on_non_finite="ignore")
    for value in (0.0, -1.0, float("nan")):
        with pytest.raises(ConfigurationError, match=r"method\.gradient_clip"):
            ERMByHand(tiny_segmenter(memory=False), SGD, gradient_clip=value)


def test_an_initial_memory_that_is_not_finite_is_refused() -> None:
    """Before the first step, with the classes."""
    method = ERMMemoryByHand(tiny_segmenter(), SGD)
    batch = tiny_batch()
    for part in batch.values():
        part["image"][:, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="classes 0, 1, 2, 3"):
        method.initialise_memory([batch])


@pytest.mark.parametrize("kind", [ERMByHand, PinTheMemoryByHand])
@pytest.mark.parametrize("norm", [0.05, 1e6])
def test_clipping_equals_that_of_pytorch(kind: type[ByHand], norm: float) -> None:
    """The step is that of `clip_grad_norm_` on the same gradients; a norm below the limit changes nothing."""
    method = kind(tiny_segmenter(memory=kind is PinTheMemoryByHand), SGD, gradient_clip=norm).prepare()
    start = {name: value.detach().clone() for name, value in method.network.named_parameters()}
    method.training_step(tiny_batch(), 0)
    reference = {name: torch.nn.Parameter(value.clone()) for name, value in start.items()}
    for name, parameter in reference.items():
        parameter.grad = method.gradients[name].clone()
    total = torch.nn.utils.clip_grad_norm_(reference.values(), norm)
    assert (float(total) > norm) == (norm < 1)
    SGD(reference.values()).step()
    for name, parameter in method.network.named_parameters():
        torch.testing.assert_close(parameter, reference[name], rtol=1e-6, atol=1e-8)
    made = [((start[name] - value) / 0.1 - 1e-3 * start[name]).detach() for name, value in method.network.named_parameters()]
    step = math.sqrt(sum(float(part.square().sum()) for part in made))
    assert step == pytest.approx(min(norm, float(total)), rel=1e-3)


def test_the_norm_that_is_logged_is_that_before_clipping(data: Path, tmp_path: Path) -> None:
    """The metric tells how much was cut off."""
    norms = []
    for name, clip in (("free", "null"), ("clipped", "0.001")):
        options = [f"method.gradient_clip={clip}", "trainer.max_steps=1", "network.dropout=0"]
        folder = run(data, tmp_path / name, *options, method="erm")
        (row,) = [row for row in csv.DictReader((folder / "metrics.csv").open()) if row["grad_norm/total"]]
        norms.append(float(row["grad_norm/total"]))
    assert norms[0] == norms[1] > 0.001


def unlabelled(batch: dict[str, dict[str, Any]], *domains: str) -> None:
    """Take the labels of some domains away."""
    for name in domains:
        batch[name]["label"].fill_(255)


def without_classes(batch: dict[str, dict[str, Any]], *classes: int) -> None:
    """Some classes are never seen."""
    for part in batch.values():
        for number in classes:
            part["label"][part["label"] == number] = 255


def black(batch: dict[str, dict[str, Any]]) -> None:
    """An image of each domain without any contrast."""
    for part in batch.values():
        part["image"][0].zero_()


def test_a_loss_term_alone_leaves_a_step_out() -> None:
    """Where the gradient is finite: an infinite term that was logged and has no part in the loss."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, on_non_finite="skip").prepare().train()
    batch = tiny_batch()
    gradients = {name: torch.ones_like(value) for name, value in method.network.named_parameters()}
    for index, value in enumerate((1.0, float("inf"))):
        method.on_train_batch_start(batch, index)
        before = {name: value.clone() for name, value in method.network.state_dict().items()}
        method.log_losses(mine=torch.tensor(value))
        method.step_optimizer(gradients, 3)
        assert same(before, dict(method.network.state_dict())) == (index == 1)
    assert method.finite.skipped["steps"] == 1


def test_parameters_of_any_kind() -> None:
    """A parameter without a number."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, on_non_finite="skip").prepare().train()
    batch = tiny_batch()
    method.network.register_parameter("nothing", torch.nn.Parameter(torch.zeros(0)))
    gradients = {name: torch.ones_like(value) for name, value in method.network.named_parameters()}
    for value in (1.0, float("nan")):
        method.on_train_batch_start(batch, 0)
        method.log_losses(mine=torch.tensor(value))
        method.step_optimizer(gradients, 3)
    assert method.finite.skipped["steps"] == 1


SCENES = {
    "one domain unlabelled": lambda batch: unlabelled(batch, "a"),
    "one side unlabelled": lambda batch: unlabelled(batch, "a", "b"),
    "nothing labelled": lambda batch: unlabelled(batch, "a", "b", "c"),
    "classes never seen": lambda batch: without_classes(batch, 0, 3),
    "a black image": black,
}
BY_HAND = [(ERMByHand, {}), (ERMMemoryByHand, {})]
BY_HAND += [(kind, {"first_order": order}) for kind in (MLDGByHand, PinTheMemoryByHand) for order in (True, False)]
BY_HAND += [(PinTheMemoryByHand, {"train_statistics": "mixture"})]


WITH_MEMORY = (ERMMemoryByHand, PinTheMemoryByHand)
STATES = [("filled", False, ()), ("filled", True, pytest.mark.slow), ("empty", True, ()), ("zero features", False, pytest.mark.slow)]
POOR = [
    pytest.param(kind, options, memory, autocast, marks=marks)
    for kind, options in BY_HAND
    for memory, autocast, marks in STATES
    if memory != "empty" or kind in WITH_MEMORY
]


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize(("kind", "options", "memory", "autocast"), POOR)
def test_poor_batches_give_finite_numbers(kind: type[ByHand], options: dict[str, Any], scene: str, memory: str, autocast: bool) -> None:
    """Losses, gradients, weights, running statistics and memory, over two steps; nothing is left out or dropped on the way."""
    meta = kind in (MLDGByHand, PinTheMemoryByHand)
    for meta_test in (["a", "b"], ["c"]) if meta else [None]:  # what is poor lies on either side
        extra = {"split": DomainSplit(meta_test=meta_test)} if meta else {}
        network = tiny_segmenter(memory=kind in WITH_MEMORY)
        if memory == "empty":
            network.require_memory().commit(torch.zeros(4, 6))
        elif memory == "zero features":
            for parameter in network.aspp.parameters():
                torch.nn.init.zeros_(parameter)
        method = kind(network, SGD, on_non_finite="skip", **options, **extra).prepare()
        batch = tiny_batch()
        SCENES[scene](batch)
        for index in range(2):
            method.on_train_batch_start(batch, index)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                method.training_step(batch, index)
            assert all(math.isfinite(value) for value in method.terms.values()), method.terms
            assert all(gradient.isfinite().all() for gradient in method.gradients.values())
        assert method._is_finite()
        assert all(value.isfinite().all() for value in method.state_dict().values())
        assert method.finite.skipped == {"steps": 0, "memory_writes": 0}


@pytest.mark.parametrize("norms", ["ibn", "isw"])
@pytest.mark.parametrize("scene", ["nothing labelled", "a black image"])
def test_poor_batches_give_finite_numbers_with_instance_norms(norms: str, scene: str) -> None:
    """IBN-Net, and RobustNet with chosen covariances, in bfloat16."""
    torch.manual_seed(0)
    network = MemorySegmenter(ResNetBackbone(18, 32, instance_norm=norms), 4, 8, auxiliary_channels=8)
    whitening = InstanceSelectiveWhitening() if norms == "isw" else None
    if whitening is not None:
        for place, channels in enumerate((64, 64, 128)):
            whitening.register_buffer(f"mask{place}", torch.triu(torch.ones(channels, channels, dtype=torch.bool), diagonal=1))
    method = ERMByHand(network, SGD, whitening=whitening).prepare()
    batch = tiny_batch(images=2, side=32)
    SCENES[scene](batch)
    with torch.autocast("cpu", torch.bfloat16):
        method.training_step(batch, 0)
    assert ("whitening" in method.terms) == (norms == "isw")
    assert all(math.isfinite(value) for value in method.terms.values()), method.terms
    assert all(value.isfinite().all() for value in (*method.gradients.values(), *method.state_dict().values()))


def test_all_methods_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A NaN image is found by every method, through its losses, and with the side that it is on."""
    for kind, options in BY_HAND:
        network = tiny_segmenter(memory=kind in (ERMMemoryByHand, PinTheMemoryByHand))
        extra = {"split": DomainSplit(meta_test="c")} if "first_order" in options else {}
        method = kind(network, SGD, **options, **extra).prepare()
        monkeypatch.setattr(ByHand, "log_losses", Method.log_losses)
        monkeypatch.setattr(Method, "log_dict", lambda *_, **__: None)
        monkeypatch.setattr(Method, "log", lambda *_, **__: None)
        batch = tiny_batch()
        batch["c"]["image"][1, 0, 0, 0] = float("nan")
        before = {name: value.clone() for name, value in network.state_dict().items()}
        method.on_train_batch_start(batch, 0)
        with pytest.raises(NonFiniteError) as caught:
            method.training_step(batch, 0)
        expected = {"a", "b", "c"} if not extra or "train_statistics" in options else {"c"}
        assert {name for name in "abc" if f"Images of {name}:" in str(caught.value)} == expected, kind
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
