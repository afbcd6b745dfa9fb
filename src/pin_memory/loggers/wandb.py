"""The Weights & Biases run of a training: online where it can be, offline otherwise, never shared with another training."""

import importlib.util
import logging
import os
import secrets
import sys
from asyncio import CancelledError
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import WandbLogger

from pin_memory.loggers.wandb_about import group_of, privacy, run_name, settings_of, tags_of
from pin_memory.loggers.wandb_key import has_key
from pin_memory.loggers.wandb_parts import RUN_ID, earlier_parts, earlier_run_id, is_sweep, next_step, waiting
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import write_text
from pin_memory.utils.wandb_guard import GuardedLogger, GuardedRun, attempt, give_up, lost, new_run, reason, within

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
"""What `logger.wandb.mode` may be; auto: WANDB_MODE of the environment if set, else online with an API key, offline without."""

_ALIASES = {"run": "online", "dryrun": "offline", "shared": "online"}  # other values that WANDB_MODE may have
_AGENT = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")  # what `wandb agent` sets for each run
_INIT_SECONDS, _FINISH_SECONDS = 20.0, 120.0
_own_run: Any = None
_is_named = False  # by the user


def wandb_logger(
    save_dir: str | Path,
    project: str = "pin_memory",
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
    resume: str | Path | None = None,
    entity: str | None = None,
    notes: str | None = None,
    log_model: bool = False,
    system: bool = False,
) -> WandbLogger | None:
    """Start a W&B run that keeps its files in `<save_dir>/wandb`, uploads no code and never asks for anything.

    Whatever W&B or its server do, they end no training: the run becomes an offline one, or there is none, and the log says why.

    Args:
        save_dir: The run folder. `config.yaml` and `provenance.json` in it are the run's configuration; its id is kept in `checkpoints/`.
        project: The project that the run belongs to.
        name: The run's name; None: method, seed and the number of a sweep's job (`describe_run`).
        group: The group that runs are compared in; None: the experiment, of a sweep's job with the name of the sweep's folder.
        job_type: The kind of run ("train").
        tags: Labels to filter runs by; `describe_run` adds some.
        mode: One of `MODES`. Where the server refuses or does not answer within 20 s, an online run becomes an offline one.
        resume: The run folder or checkpoint that training resumes from: the same W&B run is continued where its id is found there.
        entity: The user or team that the project belongs to; None: the user's own.
        notes: A text that is shown with the run.
        log_model: Upload the best checkpoint at the end; it has the settings in it, with their paths.
        system: Also send host name, user, command line, list of packages and system statistics.

    Returns:
        The logger of the run, on the first process; None on the others, and where W&B is disabled, not installed or cannot be started.

    Raises:
        ConfigurationError: If the mode is none of these.
    """
    mode, why = wandb_mode(mode)
    if not is_first():
        return None
    finish_wandb()  # of an earlier training that was left open
    new_run()
    log.info("W&B: %s (%s)", mode, why)
    if mode == "disabled":
        return None
    options = {"project": project, "entity": entity, "name": name, "group": group, "job_type": job_type, "tags": list(tags), "notes": notes}
    attempt("starting a run", _start, Path(save_dir), mode, resume, options, system)
    if _own_run is None:
        return None
    return attempt("making the logger", GuardedLogger, experiment=_own_run, save_dir=str(save_dir), project=project, log_model=log_model)


def wandb_mode(mode: str = "auto") -> tuple[str, str]:
    """Return "online", "offline" or "disabled" and the reason in a few words.

    Raises:
        ConfigurationError: If the mode is none of `MODES`.
    """
    if mode not in MODES:
        raise ConfigurationError(f"Unknown W&B mode '{mode}' in logger.wandb.mode; choose one of: {', '.join(MODES)}.")
    source = "logger.wandb.mode"
    if mode == "auto" and (named := os.environ.get("WANDB_MODE")):
        mode, source = _ALIASES.get(named, named), "WANDB_MODE"
    if importlib.util.find_spec("wandb") is None:
        return "disabled", "the package wandb is not installed"
    if mode in ("offline", "disabled"):
        return mode, f"set by {source}"
    if mode not in MODES:  # of the environment, which may be meant for another program
        return "offline", f"WANDB_MODE={mode} is none of {', '.join(MODES)}"
    try:
        with _environment(_hidden()):
            if not has_key():
                return "offline", "no API key found: `wandb login` stores one, `wandb sync` uploads the run later"
    except Exception as error:  # settings that W&B refuses, a package that cannot be imported
        return "offline", f"W&B does not start: {reason(error)}"
    return "online", "API key found" if mode == "auto" else f"set by {source}"


def own_run() -> Any:
    """The W&B run that `wandb_logger` started and `finish_wandb` has not ended yet, or None; never another one that is open."""
    return _own_run


def describe_run(method: str, network: str, seed: int | None, stand_in: bool) -> None:
    """Say in the W&B run of this training, if there is one, what runs: names of method and network, tags, and a name if it has none.

    Args:
        method: Name of the method's class.
        network: Name of the network.
        seed: Of the training.
        stand_in: Whether the scenes are drawn.
    """
    if (run := own_run()) is None:
        return
    run.config.update({"method_name": method, "network_name": network}, allow_val_change=True)
    run.tags = list(dict.fromkeys([*(run.tags or ()), *tags_of(method, seed, stand_in)]))
    if not _is_named:
        run.name = run_name(method, seed)


def finish_wandb() -> None:
    """End the run that `wandb_logger` started, if any, so that the next job of a sweep starts its own; after two minutes leave it alone."""
    global _own_run
    run, _own_run = _own_run, None
    limit = _FINISH_SECONDS + 10  # W&B's own comes first
    if run is not None and not within(limit, run.finish):
        log.warning("W&B: the run has not ended after %.0f s and is left alone. What was logged is in the run folder.", limit)
        give_up()
        process = _process()  # Python would wait for it at its end, for ever
        if _other_run() is None and not within(5, _teardown) and process:
            process.kill()
    elif lost():
        _teardown()  # or no later run would start


def _start(folder: Path, mode: str, resume: str | Path | None, options: dict[str, Any], system: bool) -> None:
    """Make the run of this training, and keep its id next to the checkpoints."""
    global _own_run, _is_named
    folder.mkdir(parents=True, exist_ok=True)  # W&B turns to a temporary folder where there is none
    earlier = earlier_run_id(resume, folder) if resume else None
    # An id of our own: one in the environment would be shared by all jobs of a sweep, a seeded one by all runs of a seed.
    run_id = os.environ["WANDB_RUN_ID"] if _by_agent() else earlier or secrets.token_hex(6)
    parts = earlier_parts(resume, run_id) if resume and run_id == earlier else []
    if mode == "online" and (left := waiting(parts)):
        log.warning("W&B: offline, as an earlier part of the run is not uploaded. Upload all in one call: %s", _sync(*left, folder))
        mode = "offline"
    settings = settings_of(folder)
    options |= {"dir": str(folder), "id": run_id, "config": settings, "group": group_of(options["group"], settings)}
    _is_named = options["name"] is not None
    _own_run = run = GuardedRun(_first_that_starts(mode, options, run_id == earlier, system))
    try:
        write_text(folder / "checkpoints" / RUN_ID, f"{run.id}\n")
    except OSError as error:
        log.warning("Cannot write the id of the W&B run in %s: %s. A resumed training will start a new W&B run.", folder, error)
    run.define_metric("trainer/global_step")  # as Lightning does
    run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    if (step := attempt("reading the earlier parts of the run", next_step, parts)) and step > run.step:
        run.log({}, step=step, commit=False)  # rows of one `_step` in two parts would replace each other on the server


def _first_that_starts(mode: str, options: dict[str, Any], continues: bool, system: bool) -> Any:
    """A run in the requested mode, else an offline one, else an offline one without W&B's settings of the environment."""
    ours = {name for name in os.environ if name.startswith("WANDB_")} - (set(_AGENT) if _by_agent() else set())
    failures: list[Exception] = []
    for kind, hidden in (*((kind, _hidden()) for kind in dict.fromkeys((mode, "offline"))), ("offline", ours)):
        try:
            with _environment(hidden):
                run = _init(kind, options, continues, system)
        except Exception as error:
            failures.append(error)
            if _other_run() is None:
                _teardown()  # W&B's own process keeps the id of the run that failed
            else:  # which would end a run that is not ours
                options = options | {"id": secrets.token_hex(6)}
            continue
        if kind == "online":
            log.info("W&B: %s", run.url)
        elif mode == "online":
            log.warning("W&B: offline (%s). Training goes on; upload the run later: %s", reason(failures[0]), _sync(Path(options["dir"])))
        return run
    raise failures[-1]


def _init(mode: Any, options: dict[str, Any], continues: bool, system: bool) -> Any:
    """Start a run next to whichever other run is open."""
    import wandb

    ours: dict[str, Any] = {
        "silent": True, "console": "off", "save_code": False, "disable_code": True, "disable_git": True, "login_timeout": _INIT_SECONDS,
        "init_timeout": _INIT_SECONDS, "finish_timeout": _FINISH_SECONDS,
    }  # fmt: skip
    known = wandb.Settings.model_fields
    settings = wandb.Settings(**{name: value for name, value in ours.items() if name in known}, **privacy(system, known))
    # Without `resume` the server would begin the run of an id that it knows anew. Offline it is written into the file, for `wandb sync`,
    # which would append a part that does not continue anything when it uploads it once more.
    resume: Any = "allow" if mode == "online" or continues else None
    return wandb.init(mode=mode, resume=resume, reinit="create_new", settings=settings, **options)


def _sync(*folders: Path) -> str:
    """The command that uploads offline runs, given their own folders or run folders."""
    return f"wandb sync {' '.join(str(f if f.name.startswith('offline-') else f / 'wandb' / 'offline-run-*') for f in folders)}"


def _by_agent() -> bool:
    """Whether `wandb agent` started this training and gave it an id; the jobs of `--multirun` cannot share that."""
    return all(os.environ.get(name) for name in _AGENT[:2]) and not is_sweep()


def _hidden() -> set[str]:
    """Variables that would overrule what was decided and reported: the mode, and whether and which run is continued."""
    return {"WANDB_MODE", "WANDB_RESUME", *(() if _by_agent() else _AGENT)}


@contextmanager
def _environment(hidden: set[str]) -> Iterator[None]:
    """Hide variables of the environment from W&B."""
    before = {name: os.environ.pop(name) for name in hidden if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _other_run() -> Any:
    """A run that is open in this process and not ours, or None."""
    return getattr(sys.modules.get("wandb"), "run", None)


def _teardown() -> None:
    """End W&B's own process, if it still runs; where that has failed, W&B would end this one, too."""
    with suppress(Exception, CancelledError, SystemExit):
        import wandb

        wandb.teardown()


def _process() -> Any:
    """W&B's own process, to which there is no public way, or None."""
    with suppress(Exception):
        import wandb

        return wandb.setup()._connection._proc._process  # type: ignore[union-attr]
    return None
