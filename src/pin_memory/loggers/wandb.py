"""The Weights & Biases run of a training: online where it can be, offline otherwise, never shared with another training."""

import importlib.util
import json
import logging
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning.pytorch.loggers import WandbLogger
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import write_text

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
"""What `logger.wandb.mode` may be; auto: WANDB_MODE of the environment if set, else online with an API key, offline without."""
RUN_ID = "wandb_id.txt"
"""Name of the file with the id of the W&B run, in a run's folder of checkpoints."""

_ALIASES = {"run": "online", "dryrun": "offline", "shared": "online"}  # other values that WANDB_MODE may have
_INIT_SECONDS, _FINISH_SECONDS = 20.0, 120.0
_own_run: Any = None


def wandb_logger(
    save_dir: str | Path,
    project: str = "pin_memory",
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    mode: str = "auto",
    resume: str | Path | None = None,
) -> WandbLogger | None:
    """Start a W&B run that keeps its files in `<save_dir>/wandb`, uploads no code and never asks for anything.

    Args:
        save_dir: The run folder. `config.yaml` and `provenance.json` in it are the run's configuration; its id is kept in `checkpoints/`.
        project: The project that the run belongs to.
        name: The run's name; W&B invents one if None.
        group: The group that runs are compared in, normally the experiment's name.
        job_type: The kind of run ("train").
        tags: Labels to filter runs by.
        mode: One of `MODES`. Where the server refuses or does not answer within 20 s, an online run becomes an offline one.
        resume: The run folder or checkpoint that training resumes from: the same W&B run is continued where its id is found there.

    Returns:
        The logger of the run, on the first process; None on the others, and where W&B is disabled or not installed.

    Raises:
        ConfigurationError: If the mode is none of these.
    """
    mode, reason = wandb_mode(mode)
    if not is_first():
        return None
    log.info("W&B: %s (%s)", mode, reason)
    if mode == "disabled":
        return None
    run = Path(save_dir)
    run.mkdir(parents=True, exist_ok=True)  # W&B turns to a temporary folder where there is none
    _start(run, mode, resume, {"project": project, "name": name, "group": group, "job_type": job_type, "tags": list(tags)})
    return WandbLogger(experiment=_own_run, save_dir=str(run), project=project, log_model=False)


def wandb_mode(mode: str = "auto") -> tuple[str, str]:
    """Return "online", "offline" or "disabled", and the reason in a few words.

    Raises:
        ConfigurationError: If the mode is none of `MODES`.
    """
    source = "logger.wandb.mode"
    if mode == "auto" and os.environ.get("WANDB_MODE"):
        mode, source = os.environ["WANDB_MODE"], "WANDB_MODE"
        mode = _ALIASES.get(mode, mode)
    if mode not in MODES:
        raise ConfigurationError(f"Unknown W&B mode '{mode}' in {source}; choose one of: {', '.join(MODES)}.")
    if importlib.util.find_spec("wandb") is None:
        return "disabled", "the package wandb is not installed"
    if mode in ("offline", "disabled"):
        return mode, f"set by {source}"
    if not _has_key():
        return "offline", "no API key found: `wandb login` stores one, `wandb sync` uploads the run later"
    return "online", "API key found" if mode == "auto" else f"set by {source}"


def own_run() -> Any:
    """The W&B run that `wandb_logger` started and `finish_wandb` has not ended yet, or None; never a run of somebody else."""
    return _own_run


def finish_wandb() -> None:
    """End the run that `wandb_logger` started, if any, so that the next job of a sweep starts its own."""
    global _own_run
    run, _own_run = _own_run, None
    if run is not None:
        run.finish()


def earlier_run_id(resume: str | Path, run: Path) -> str | None:
    """The id of the W&B run that a training resumes, or None where there is none.

    In a sweep only a job that resumes in its own folder (`run`) has one: jobs that start from one checkpoint are different continuations,
    which must not write into one W&B run.
    """
    path = Path(resume).expanduser()
    file = (path / "checkpoints" if path.is_dir() else path.parent) / RUN_ID
    if _is_sweep() and not file.resolve().is_relative_to(run.resolve()):
        log.info("W&B: a new run for each job of the sweep, also where they resume from the same checkpoint.")
        return None
    try:
        found = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        log.info("W&B: a new run, as there is no id of the earlier one in %s.", file)
        return None
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", found):
        log.warning("W&B: a new run, as %s holds no id of a run.", file)
        return None
    return found


def _start(folder: Path, mode: str, resume: str | Path | None, options: dict[str, Any]) -> None:
    """Make the run of this training, and keep its id next to the checkpoints."""
    global _own_run
    finish_wandb()  # of an earlier training that was left open
    # An id of our own: one in the environment (WANDB_RUN_ID) would be shared by all jobs of a sweep, a seeded one by all runs of a seed.
    run_id = (earlier_run_id(resume, folder) if resume else None) or secrets.token_hex(6)
    _own_run = _init(mode, options | {"dir": str(folder), "id": run_id, "config": _settings_of(folder)})
    _own_run.define_metric("trainer/global_step")  # as Lightning does
    _own_run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    try:
        write_text(folder / "checkpoints" / RUN_ID, f"{_own_run.id}\n")
    except OSError as error:
        log.warning("Cannot write the id of the W&B run in %s: %s. A resumed training will start a new W&B run.", folder, error)


def _init(mode: Any, options: dict[str, Any]) -> Any:
    """Start a run next to whichever other run is open; offline where the server refuses or does not answer."""
    import wandb

    settings: dict[str, Any] = {"silent": True, "console": "off", "save_code": False, "disable_code": True, "disable_git": True}
    settings["init_timeout"] = _INIT_SECONDS
    if "finish_timeout" in wandb.Settings.model_fields:  # newer than our version floor; what is not uploaded then stays on disk
        settings["finish_timeout"] = _FINISH_SECONDS
    try:
        with _without_environment():
            # Without `resume` the server would begin the run of an id that it knows anew; offline it has no meaning, and W&B warns of it.
            resume: Any = "allow" if mode == "online" else None
            run = wandb.init(mode=mode, resume=resume, reinit="create_new", settings=wandb.Settings(**settings), **options)
    except (wandb.errors.Error, OSError) as error:
        if mode == "offline":
            raise
        log.info("W&B: offline (%s); `wandb sync` uploads the run later", str(error).partition("\n")[0])
        if wandb.run is None:
            wandb.teardown()  # W&B's own process keeps the id of the run that failed
        else:  # which would end the run of somebody else
            options = options | {"id": secrets.token_hex(6)}
        return _init("offline", options)
    if mode == "online":
        log.info("W&B: %s", run.url)
    return run


@contextmanager
def _without_environment() -> Iterator[None]:
    """Keep the environment from overruling what was decided and reported: the mode, and whether and which run is continued."""
    names = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _has_key() -> bool:
    """Whether W&B would find credentials without asking: in the environment, its settings, or the user's netrc file."""
    import wandb

    settings = wandb.setup().settings
    if os.environ.get("WANDB_API_KEY") or settings.api_key or getattr(settings, "identity_token_file", None):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or str(settings.base_url)).netloc
    for file in (Path(os.environ.get("NETRC", "")), Path.home() / ".netrc", Path.home() / "_netrc"):
        with suppress(NetrcParseError, OSError):
            if file.is_file() and (found := netrc(str(file)).authenticators(host)) and found[2]:
                return True
    return False


def _is_sweep() -> bool:
    """Whether this is a job of `--multirun`."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _settings_of(run: Path) -> dict[str, Any]:
    """The resolved settings and the provenance that lie in the run folder, as far as they do, and the chosen options of the groups."""
    settings: dict[str, Any] = {}
    try:
        config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)
        settings |= {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}
        settings["provenance"] = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, OmegaConfBaseException) as error:
        log.debug("Settings for W&B are incomplete: %s", error)
    if HydraConfig.initialized():  # such as the name of the method, which the settings themselves do not have
        chosen = HydraConfig.get().runtime.choices.items()
        settings["choices"] = {str(group): str(option) for group, option in chosen if option and not str(group).startswith("hydra/")}
    return settings
