"""Numbers that are not finite, found an iteration later so that nothing waits for a GPU: the same state, messages and counts."""

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pin_memory.methods.kept_tensors import KeptTensors
from pin_memory.methods.losses import cross_entropy
from pin_memory.methods.numerics import Numerics
from pin_memory.methods.revocable import RevocableStep
from pin_memory.utils.errors import ConfigurationError, NonFiniteError
from tests.helpers.poison import Poison
from tests.helpers.poisoned_run import load, run, same
from tests.helpers.stepping import ByHand, ERMByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
LATE = ["method.late_look=true", "trainer.log_every_n_steps=50"]
LONG = ["loading.draws_per_epoch=10", "trainer.max_steps=7", "trainer.val_check_interval=3"]  # epochs of 5, validations after 3


@pytest.mark.parametrize(
    ("method", "fault_at"),
    [("pin_the_memory", 1), ("erm", 1), ("pin_the_memory", 2), ("erm", 3), ("pin_the_memory", 4), ("pin_the_memory", 6)],
)  # the next iteration follows; a validation does; the last of an epoch; the last of all
def test_a_bad_step_stops_the_run_and_can_be_made_again(data: Path, tmp_path: Path, method: str, fault_at: int) -> None:
    """As with a look at once: message and checkpoint are those of the iteration, and going on ends where the run without a fault ends."""
    whole = load(run(data, tmp_path / "whole", *LONG, *LATE, method=method) / "checkpoints" / "last.ckpt")
    before = Poison.states[fault_at]
    with pytest.raises(NonFiniteError, match=f"Iteration {fault_at + 1} has") as caught:
        run(data, tmp_path / "bad", *LONG, *LATE, f"+callbacks.poison.iteration={fault_at}", method=method)
    assert (fault_at + 1 in Poison.states) == (fault_at in (1, 3))  # found in the next iteration, which validations and epochs come before
    message = str(caught.value)
    for part in ("segmentation is nan", "gradient of backbone.low.0.weight (of", "Pixels that are not finite themselves: ", "gtav/images"):
        assert part in message
    assert not getattr(caught.value, "__notes__", [])
    metrics = tmp_path / "bad" / "metrics.csv"
    assert fault_at != 2 or not metrics.is_file() or "val/miou" not in metrics.read_text()  # found before the validation, not after it
    folder = tmp_path / "bad" / "checkpoints"
    content = load(folder / "before_non_finite.ckpt")
    assert content["global_step"] == fault_at
    assert same(content["state_dict"], before["model"])
    assert same(content["optimizer_states"][0], before["optimizer"])

    again = load(
        run(data, tmp_path / "again", *LONG, *LATE, f"resume={folder / 'before_non_finite.ckpt'}", method=method)
        / "checkpoints"
        / "last.ckpt"
    )
    for key in ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers"):
        assert same(again[key], whole[key]), key


@pytest.mark.parametrize("kind", ["image", "gradient", "memory"])
@pytest.mark.parametrize("fault_at", [0, 1, 2, 3, 4, 6])
def test_a_bad_step_is_left_out_as_with_a_look_at_once(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, fault_at: int
) -> None:
    """All of the state, the counts and the warnings are the same, whenever the fault is found."""
    options = [*LONG, f"+callbacks.poison.iteration={fault_at}", f"+callbacks.poison.kind={kind}", "method.on_non_finite=skip"]
    states, told, counts = [], [], []
    for late in ("false", "true"):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            folder = run(data, tmp_path / late, *options, *LATE, f"method.late_look={late}")
        content = load(folder / "checkpoints" / "last.ckpt")
        states.append({key: content[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "skipped", "loops")})
        told.append([record.message.rpartition("\n")[0] for record in caplog.records if "not finite" in record.message])
        counts.append(json.loads(folder.with_suffix(".json").read_text())["skipped"])
    assert counts[0] == counts[1] == {"steps": int(kind != "memory"), "memory_writes": int(kind == "memory")}
    assert told[0] == told[1]
    assert len(told[0]) == 1
    for key in states[0]:
        assert same(states[0][key], states[1][key]), key


def test_a_bad_write_is_told_by_the_next_step(data: Path, tmp_path: Path) -> None:
    """With the class, and the state after the step of its iteration."""
    with pytest.raises(NonFiniteError, match=r"Iteration 2 .*memory row 3 \(wall\)"):
        run(data, tmp_path / "bad", *LONG, *LATE, "+callbacks.poison.iteration=1", "+callbacks.poison.kind=memory")
    content = load(tmp_path / "bad" / "checkpoints" / "before_non_finite.ckpt")
    assert content["global_step"] == 2
    assert same(content["state_dict"], Poison.states[2]["model"])


@pytest.mark.parametrize("method", ["erm", "pin_the_memory"])
def test_the_first_of_several_bad_steps_is_told(data: Path, tmp_path: Path, method: str) -> None:
    """The next one, begun from the same weights, is mostly bad, too."""
    with pytest.raises(NonFiniteError, match="Iteration 2 has"):
        run(data, tmp_path / "bad", *LONG, *LATE, "+callbacks.poison.iteration=1", "+callbacks.poison.times=3", method=method)
    content = load(tmp_path / "bad" / "checkpoints" / "before_non_finite.ckpt")
    assert content["global_step"] == 1
    assert same(content["state_dict"], Poison.states[1]["model"])
    assert same(content["optimizer_states"][0], Poison.states[1]["optimizer"])


@pytest.mark.parametrize("kind", ["image", "memory"])
def test_several_bad_steps_are_left_out_as_with_a_look_at_once(data: Path, tmp_path: Path, kind: str) -> None:
    """Over a validation and the end of an epoch."""
    options = [*LONG, "+callbacks.poison.iteration=1", "+callbacks.poison.times=5", f"+callbacks.poison.kind={kind}"]
    ends = []
    for late in ("false", "true"):
        folder = run(data, tmp_path / late, *options, "method.on_non_finite=skip", *LATE, f"method.late_look={late}")
        content = load(folder / "checkpoints" / "last.ckpt")
        ends.append({key: content[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "skipped", "loops")})
    assert ends[0]["skipped"] == {"steps": 5 * (kind == "image"), "memory_writes": 5 * (kind == "memory")}
    assert same(ends[0], ends[1])


@pytest.mark.parametrize("kind", ["image", "memory"])
@pytest.mark.parametrize("times", [10, 20])
def test_weights_that_give_nothing_finite_end_the_run_even_so(data: Path, tmp_path: Path, kind: str, times: int) -> None:
    """Steps are not taken back for ever; what is kept is what an iteration began from."""
    options = ["method.on_non_finite=skip", "trainer.max_steps=24", "trainer.val_check_interval=40", "loading.draws_per_epoch=60"]
    fault = ["+callbacks.poison.iteration=2", f"+callbacks.poison.times={times}", f"+callbacks.poison.kind={kind}"]
    with pytest.raises(NonFiniteError, match="10 iterations in a row"):
        run(data, tmp_path / "run", *options, *fault, *LATE)
    content = load(tmp_path / "run" / "checkpoints" / "before_non_finite.ckpt")
    assert content["skipped"] == {"steps": 10 * (kind == "image"), "memory_writes": 10 * (kind == "memory")}
    assert content["global_step"] == 12
    assert same(content["state_dict"], Poison.states[12]["model"])


def watch(method: ByHand, **terms: Tensor) -> None:
    """What logging does besides logging."""
    method.numerics.watch(terms)


class Counting(torch.optim.Optimizer):
    """Counts its steps on the host, as some optimisers do, and makes more state at its third step."""

    def __init__(self, parameters: Any, lr: float = 0.1) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in (p for p in group["params"] if p.grad is not None):
                state = self.state[parameter]
                state["count"] = state.get("count", 0) + 1
                parameter -= group["lr"] / state["count"] * parameter.grad
                if state["count"] >= 3 and "sum" not in state:
                    state["sum"] = parameter.clone()
                if "sum" in state:
                    state["sum"] = state["sum"] + parameter


class InItsGroup(torch.optim.Optimizer):
    """Estimates something over all gradients in its group, as optimisers without a learning rate do; the schedule changes it, too."""

    def __init__(self, parameters: Any, lr: float = 0.1) -> None:
        super().__init__(parameters, {"lr": lr, "d": 1.0, "device_d": torch.ones(())})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            if used:
                group["d"] = 0.9 * group["d"] + 0.1 * float(torch.stack([p.grad.norm() for p in used]).norm())
                group["device_d"].mul_(0.9).add_(0.1 * torch.stack([p.grad.abs().max() for p in used]).max())
            for parameter in used:
                parameter -= group["lr"] / (group["d"] + group["device_d"]) * parameter.grad


class Elsewhere(Counting):
    """Keeps a number for all parameters together."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        super().step()
        if any(p.grad is not None for group in self.param_groups for p in group["params"]):
            self.state["all"]["k"] = self.state["all"].get("k", 0) + 1  # type: ignore[index]


@pytest.mark.parametrize("bad", [(), (0,), (1,), (2,), (3,), (2, 3), (4,)])
@pytest.mark.parametrize(
    "optimizer",
    [
        SGD, partial(torch.optim.SGD, lr=0.1), partial(torch.optim.SGD, lr=0.1, momentum=0.9, fused=True),
        partial(torch.optim.AdamW, lr=0.1), Counting, InItsGroup, Elsewhere,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [ERMByHand, PinTheMemoryByHand])
def test_optimisers_are_as_after_a_look_at_once(kind: type[ByHand], optimizer: Any, bad: tuple[int, ...]) -> None:
    """Weights, momentum, counters on the host, buffers and memory, bit by bit."""
    ends = []
    for late in (False, True):
        options: dict[str, Any] = {"on_non_finite": "skip", "late_look": late, "schedule": lambda iteration: 0.9**iteration}
        method = kind(tiny_segmenter(memory=kind is PinTheMemoryByHand), optimizer, **options).prepare().train()
        method.log_losses = partial(watch, method)
        for index in range(6):
            batch = tiny_batch()
            if index in bad:
                batch["a"]["image"][0, 0, 0, 0] = float("nan")
            method.numerics.begin(method.network, batch, index)
            method.training_step(batch, index)
        assert method._accepts(None, {})
        state = method.optimizers().state_dict()
        ends.append({"model": method.state_dict(), "optimizer": state, "skipped": method.skipped, "seen": int(method.images_seen)})
        assert method.skipped["steps"] == len(bad)
    assert same(ends[0], ends[1])


def test_the_host_looks_at_once_where_a_step_cannot_be_taken_back() -> None:
    """Where the state is no plain tensors and numbers by parameter, or the weights are elsewhere."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.grad = torch.ones(3)
    for _ in range(2):
        assert RevocableStep.possible(optimizer, weight.device)
        optimizer.step()
    assert not RevocableStep.possible(optimizer, torch.device("meta"))
    optimizer.state[weight]["history"] = [torch.ones(3)]
    assert not RevocableStep.possible(optimizer, weight.device)
    del optimizer.state[weight]["history"]
    optimizer.state["all"]["k"] = 1  # type: ignore[index]
    assert not RevocableStep.possible(optimizer, weight.device)


@pytest.mark.parametrize("revoked", [False, True])
def test_tensors_are_given_back_where_a_flag_says_so(revoked: bool) -> None:
    """Of any type and memory order, in their own room."""
    tensors: dict[object, Tensor] = {
        "plain": torch.randn(3), "order": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last), "number": torch.tensor(4)
    }  # fmt: skip
    before = {name: tensor.clone() for name, tensor in tensors.items()}
    places = {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in tensors.items()}
    kept = KeptTensors()
    kept.keep(tensors)
    for tensor in tensors.values():
        tensor.fill_(float("nan") if tensor.is_floating_point() else 9)
    kept.give_back(tensors, torch.tensor(revoked))
    assert places == {name: (tensor.data_ptr(), tensor.stride()) for name, tensor in tensors.items()}
    assert same(tensors, before) == revoked
    assert bool(tensors["plain"].isnan().all()) != revoked


def test_only_true_false_and_null() -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigurationError, match=r"method\.late_look=sometimes"):
        Numerics(late="sometimes")  # type: ignore[arg-type]
    assert [Numerics(late=late).is_late(torch.device(where)) for late in (None, True, False) for where in ("cpu", "cuda")] == [
        False, True, True, True, False, False
    ]  # fmt: skip


def test_a_term_alone_takes_a_step_back() -> None:
    """Where the gradient is finite: an infinite term that was logged and has no part in the loss."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, on_non_finite="skip", late_look=True).prepare().train()
    batch = tiny_batch()
    for index in range(2):
        method.numerics.begin(method.network, batch, index)
        before = {name: value.clone() for name, value in method.network.state_dict().items()}
        method.numerics.watch({"mine": torch.tensor(float("inf") if index else 1.0)})
        loss = cross_entropy(method.network(batch["a"]["image"]), batch["a"]["label"])
        method.step_optimizer(method.gradients_of(loss), 3)
    assert same(before, dict(method.network.state_dict()))
    assert method._accepts(None, {})
    assert method.skipped["steps"] == 1


def test_terms_images_and_gradients_of_any_kind() -> None:
    """Numbers of Python, bytes, nothing at all."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, on_non_finite="skip", late_look=True).prepare().train()
    batch = tiny_batch()
    batch["a"]["image"] = batch["a"]["image"].byte()
    method.network.register_parameter("nothing", torch.nn.Parameter(torch.zeros(0)))
    gradients = {name: torch.ones_like(value) for name, value in method.network.named_parameters()}
    for value in (1.0, float("nan")):
        method.numerics.begin(method.network, batch, 0)
        method.numerics.watch({"mine": value, "whole": 3})
        method.step_optimizer(gradients, 3)
        assert method._accepts(None, {})
    assert method.skipped["steps"] == 1


def test_what_was_not_looked_at_is_forgotten_by_the_next_training() -> None:
    """A run that was broken off leaves a verdict behind."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, late_look=True).prepare().train()
    batch = tiny_batch()
    batch["a"]["image"][:] = float("nan")
    method.numerics.begin(method.network, batch, 0)
    method.training_step(batch, 0)
    method.numerics.forget()
    assert method._accepts(None, {})
