"""A checkpoint whose weights are fine, and whose state of training is not: told, never a traceback and never gone on from."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.training.resume.training_state import check_training_state
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.resumption import fit


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The stand-ins of a run of four iterations, and its checkpoint."""
    folder = tmp_path_factory.mktemp("stopped")
    StandIns(folder / "data", images_per_domain=8, seed=1, width=160).prepare()
    fit(folder / "data", folder / "run", "trainer.max_steps=4", "callbacks.last.every=2")
    return folder / "data", torch.load(folder / "run" / "checkpoints" / "last.ckpt", weights_only=True)


def first(state: dict[str, Any]) -> dict[str, Any]:
    """The optimiser's state of the first parameter."""
    return next(iter(state["optimizer_states"][0]["state"].values()))


def fit_loop(content: dict[str, Any]) -> dict[str, Any]:
    """Progress of training."""
    return content["loops"]["fit_loop"]


def trace(content: dict[str, Any]) -> dict[str, Any]:
    """State of the memory's trace."""
    return content["callbacks"]["MemoryTrace"]


def best(content: dict[str, Any]) -> dict[str, Any]:
    """State of the best weights."""
    return next(state for name, state in content["callbacks"].items() if name.startswith("BestCheckpoint"))


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "momentum of another shape": (lambda c: first(c).update(momentum_buffer=torch.zeros(7)), "optimiser"),
    "momentum no tensor": (lambda c: first(c).update(momentum_buffer="x"), "optimiser"),
    "no optimiser": (lambda c: c.pop("optimizer_states"), "optimiser"),
    "two optimisers": (lambda c: c["optimizer_states"].append(c["optimizer_states"][0]), "optimiser"),
    "no groups": (lambda c: c["optimizer_states"][0].update(param_groups=[]), "optimiser"),
    "a parameter missing": (lambda c: c["optimizer_states"][0]["param_groups"][0]["params"].pop(), "optimiser"),
    "a parameter a tensor": (lambda c: c["optimizer_states"][0]["param_groups"][0].update(params=[torch.zeros(2), 1]), "optimiser"),
    "a rate that is none": (lambda c: c["optimizer_states"][0]["param_groups"][0].update(lr="fast"), "optimiser"),
    "state of no parameter": (lambda c: c["optimizer_states"][0]["state"].update({10**6: {}}), "optimiser"),
    "schedule a text": (lambda c: c.update(lr_schedulers="no"), "schedule"),
    "schedule without rates": (lambda c: c["lr_schedulers"][0].update(base_lrs=[]), "schedule"),
    "rate NaN": (lambda c: c["lr_schedulers"][0].update(base_lrs=[float("nan")]), "schedule"),
    "no loops": (lambda c: c.pop("loops"), "progress"),
    "another loop": (lambda c: c["loops"].update(fit_loop={"a": 1}), "progress"),
    "progress a text": (lambda c: fit_loop(c).update({"epoch_loop.batch_progress": "x"}), "progress"),
    "progress negative": (lambda c: fit_loop(c)["epoch_loop.batch_progress"]["total"].update(ready=-3), "progress"),
    "progress without a number": (lambda c: fit_loop(c)["epoch_progress"]["current"].pop("completed"), "progress"),
    "position of a loader": (lambda c: fit_loop(c)["state_dict"].update(combined_loader=[{"epoch": "x", "batches": 1}] * 2), "progress"),
    "position without an epoch": (lambda c: fit_loop(c)["state_dict"].update(combined_loader=[{"batches": 1}] * 2), "progress"),
    "callbacks a list": (lambda c: c.update(callbacks=[1]), "callbacks"),
    "trace a text": (lambda c: trace(c).update(items="x"), "callbacks"),
    "trace cut": (lambda c: trace(c).update(items=trace(c)["items"][1:]), "callbacks"),
    "best weights elsewhere": (lambda c: best(c).update(best_model_path="/etc/passwd"), "callbacks"),
    "best score a text": (lambda c: best(c).update(best_model_score="x"), "callbacks"),
    "skipped a list": (lambda c: c.update(skipped=[1]), "skipped"),
    "metrics numbers": (lambda c: c.update(metrics_csv=[7]), "metrics"),
    "buffers a text": (lambda c: c.update(rank_buffers="x"), "statistics"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_a_damaged_state_is_told(stopped: tuple[Path, dict[str, Any]], what: str) -> None:
    """With the part that is at fault."""
    content, (tamper, named) = copy.deepcopy(stopped[1]), TAMPERED[what]
    shapes = [value for name, value in content["state_dict"].items() if name.startswith("network.") and is_parameter(name)]
    check_training_state(content, shapes, Path("last.ckpt"))
    tamper(content)
    with pytest.raises(ConfigurationError, match=f"resume=last.ckpt: the .*{named}.* in this checkpoint cannot be gone on from"):
        check_training_state(content, shapes, Path("last.ckpt"))


def is_parameter(name: str) -> bool:
    """Whether an entry of a network's state dict is learned."""
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked", "memory.items"))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        *((TAMPERED[what][0], "cannot be gone on from") for what in ("no optimiser", "another loop", "momentum of another shape")),
        (
            lambda c: fit_loop(c)["state_dict"]["combined_loader"].pop(),
            "does not fit this training",
        ),  # of the right form, but not of this one
        (lambda c: trace(c).update(items=torch.zeros(1).expand(2, 19, 10**9)), "claims 152000000000 bytes"),  # a view of one number
    ],
)
def test_training_does_not_go_on_from_it(
    stopped: tuple[Path, dict[str, Any]], tmp_path: Path, tamper: Callable[[dict[str, Any]], Any], message: str
) -> None:
    """Before an iteration is made."""
    data, content = stopped[0], copy.deepcopy(stopped[1])
    tamper(content)
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torch.save(content, tmp_path / "run" / "checkpoints" / "last.ckpt")
    with pytest.raises(ConfigurationError, match=message):
        fit(data, tmp_path / "run", "trainer.max_steps=6", resume=tmp_path / "run")
