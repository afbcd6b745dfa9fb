"""The part of a checkpoint that training goes on from: optimiser, schedule, progress, callbacks. Checked before anything is built on it."""

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from pin_memory.utils.errors import ConfigurationError, UserError

_LOOPS = (
    "state_dict", "epoch_progress", "epoch_loop.state_dict", "epoch_loop.batch_progress",
    "epoch_loop.manual_optimization.optim_step_progress", "epoch_loop.val_loop.batch_progress",
)  # fmt: skip
_LIKE_PARAMETERS = {
    "momentum_buffer", "exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "square_avg", "grad_avg", "sum", "acc_delta", "prev", "ax"
}  # fmt: skip
_RESTORING = ("_restore_modules_and_callbacks", "restore_training_state", "_load_combined_loader_states")
_ADVICE = "It is damaged, or was changed. Go on from an earlier checkpoint (resume=FILE), or start anew in another folder."


def check_training_state(content: Mapping[str, Any], parameters: Sequence[Tensor], path: Path) -> None:
    """Refuse a checkpoint that training cannot go on from, though its weights may be fine.

    Args:
        content: All of the checkpoint.
        parameters: Of the method, in the order of its optimiser.
        path: The checkpoint, for the message.

    Raises:
        ConfigurationError: A part is missing or of the wrong kind; says which.
    """
    for what, check in _CHECKS.items():
        try:
            fine = check(content, parameters)
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            IndexError,
            RuntimeError,
        ):  # of what is not even of the shape that is looked into
            fine = False
        if not fine:
            raise ConfigurationError(f"resume={path}: the {what} in this checkpoint cannot be gone on from. {_ADVICE}")


def explain_restoring(trainer: Trainer, path: Path | None) -> None:
    """Have Lightning's restoring end with a message where a checkpoint is of the right form, but not of this training.

    Args:
        trainer: About to fit.
        path: The checkpoint; None for none.
    """

    def explained(restore: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(restore)
        def call(*args: Any, **named: Any) -> Any:
            try:
                return restore(*args, **named)
            except UserError:
                raise
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
                reason = str(error).partition("\n")[0]
                raise ConfigurationError(
                    f"resume={path}: the state in this checkpoint does not fit this training ({type(error).__name__}: {reason}). {_ADVICE}"
                ) from error

        return call

    for name in _RESTORING if path is not None else ():
        for place in (trainer._checkpoint_connector, trainer.fit_loop):
            if hasattr(place, name):
                setattr(place, name, explained(getattr(place, name)))


def _loops(content: Mapping[str, Any], _: Sequence[Tensor]) -> bool:
    """Counters of iterations and epochs, and positions of loaders."""
    fit = content["loops"]["fit_loop"]
    counters = [fit[name][part] for name in _LOOPS if "progress" in name for part in ("total", "current")]
    positions = fit["state_dict"].get("combined_loader", [])
    return (
        all(isinstance(fit[name], dict) for name in _LOOPS)
        and all({"ready", "completed"} <= counter.keys() and _numbers(counter) for counter in counters)
        and all({"epoch", "batches"} <= position.keys() and _numbers(position) for position in positions)
        and _numbers({"stepped": fit["epoch_loop.state_dict"]["_batches_that_stepped"]})
        and _numbers(dict(enumerate(_leaves(content["loops"]))))
    )


def _optimizer(content: Mapping[str, Any], parameters: Sequence[Tensor]) -> bool:
    """One optimiser over all parameters, with state of their shapes."""
    (optimizer,) = content["optimizer_states"]
    groups, state = optimizer["param_groups"], optimizer["state"]
    order = [number for group in groups for number in group["params"]]
    rates = all(isinstance(group["lr"], float | int | Tensor) for group in groups)
    return rates and all(isinstance(number, int) for number in order) and sorted(order) == list(range(len(parameters))) and all(
        number in order and all(
            isinstance(value, Tensor) and value.shape == parameters[order.index(number)].shape
            for name, value in entry.items() if name in _LIKE_PARAMETERS and value is not None
        )
        for number, entry in state.items()
    )  # fmt: skip


def _schedule(content: Mapping[str, Any], _: Sequence[Tensor]) -> bool:
    """One schedule with a rate for each group."""
    (schedule,) = content["lr_schedulers"]
    groups = len(content["optimizer_states"][0]["param_groups"])
    rates = [schedule["base_lrs"], schedule["_last_lr"]]
    numbers = all(isinstance(rate, float | int) and math.isfinite(rate) for part in rates for rate in part)
    return isinstance(schedule["last_epoch"], int) and all(isinstance(part, list) and len(part) == groups for part in rates) and numbers


def _callbacks(content: Mapping[str, Any], _: Sequence[Tensor]) -> bool:
    """States by name; the trace of the memory and the best weights' record."""
    states = content["callbacks"]
    trace = states.get("MemoryTrace") or {}
    best = [state for name, state in states.items() if name.startswith("BestCheckpoint")]
    return all(isinstance(state, dict) for state in states.values()) and (
        not trace or (trace["step"].ndim == 1 and trace["items"].ndim == 3 and len(trace["step"]) == len(trace["items"]))
    ) and all(
        isinstance(state["best_model_path"], str) and (not state["best_model_path"] or Path(state["best_model_path"]).suffix == ".ckpt")
        and isinstance(state["best_model_score"], Tensor | None) and isinstance(state.get("best_step"), int | None)
        for state in best
    )  # fmt: skip


def _counts(content: Mapping[str, Any], _: Sequence[Tensor]) -> bool:
    """Steps left out, rows of metrics, buffers by rank."""
    skipped, files, buffers = content.get("skipped", {}), content.get("metrics_csv", []), content.get("rank_buffers")
    return (
        all(isinstance(number, int) for number in skipped.values())
        and all(isinstance(file["rows"], int) and all(isinstance(name, str) for name in file["columns"]) for file in files if file)
        and (buffers is None or buffers.ndim == 2)
    )


_CHECKS: dict[str, Callable[[Mapping[str, Any], Sequence[Tensor]], bool]] = {
    "progress of training": _loops,
    "state of the optimiser": _optimizer,
    "state of the schedule": _schedule,
    "states of callbacks": _callbacks,
    "record of skipped steps, metrics or running statistics": _counts,
}


def _numbers(values: Mapping[Any, Any]) -> bool:
    """Whether all are whole numbers of at least 0, or flags."""
    return all(isinstance(value, int) and value >= 0 for value in values.values())


def _leaves(value: Any) -> Iterator[Any]:
    """The numbers in nested containers."""
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    else:
        yield value
