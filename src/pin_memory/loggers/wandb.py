"""The Weights & Biases run of a training: started late, patient with servers, never shared with another training."""

import json
import logging
import os
import secrets
import string
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.loggers.reaching import wandb_mode
from pin_memory.loggers.run_id import earlier_run_id, keep_run_id
from pin_memory.utils.distributed import is_first
from pin_memory.utils.errors import ConfigurationError

log = logging.getLogger(__name__)

_INIT_SECONDS = 20.0
_FINISH_SECONDS = 120.0


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
    """Make a W&B logger that keeps its files in `<save_dir>/wandb`, uploads no code and never asks for anything.

    The run's configuration is what lies in the run folder: `config.yaml`, resolved, and `provenance.json`; besides, as `choices`, the
    option of each configuration group. The run's id is kept in `<save_dir>/checkpoints/wandb_id.txt`.

    Args:
        save_dir: The run folder.
        project: The project that the run belongs to.
        name: The run's name; W&B invents one if None.
        group: The group that runs are compared in, normally the experiment's name.
        job_type: The kind of run ("train").
        tags: Labels to filter runs by.
        mode: "auto" (the environment variable WANDB_MODE if set; else online with an API key and a reachable server, offline
            otherwise), "online" (as soon as there is a key), "offline" or "disabled".
        resume: The run folder or checkpoint that training goes on from: the same W&B run is continued where its id is found there.

    Returns:
        The logger, or None where W&B is disabled or not installed.

    Raises:
        ConfigurationError: If the mode is none of these.
    """
    mode, reason = wandb_mode(mode)
    if is_first():
        log.info("W&B: %s (%s)", mode, reason)
    if mode == "disabled":
        return None
    run = Path(save_dir)
    run.mkdir(parents=True, exist_ok=True)  # W&B turns to a temporary folder where there is none
    # An id of our own: one in the environment (WANDB_RUN_ID) would be shared by all jobs of a sweep.
    run_id = (earlier_run_id(resume, run) if resume else None) or _new_id()
    return _PatientWandbLogger(
        name=name, project=project, save_dir=str(run), group=group, job_type=job_type, tags=list(tags), mode=mode,
        id=run_id, config=_settings_of(run) | _choices(), settings=_wandb_settings(),
    )  # fmt: skip


def own_run() -> Any:
    """The W&B run that a logger of ours has started and `finish_wandb` not ended yet, or None; a run of somebody else is not meant."""
    return _PatientWandbLogger.under_way


def finish_wandb() -> None:
    """End the W&B run that a logger of ours has started, if any; for a `finally`, so that the next job of a sweep starts its own."""
    run, _PatientWandbLogger.under_way = own_run(), None
    if run is not None:
        run.finish()


class _PatientWandbLogger(WandbLogger):
    """Goes offline when the server refuses or does not answer as the run starts, and leaves the runs of others alone.

    Attributes:
        under_way: The run that one of these loggers has started in this process.
    """

    under_way: ClassVar[Any] = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._wandb_init.pop("anonymous", None)  # W&B warns about this retired option even when it is None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run, started at the first use."""
        if self._experiment is not None:
            return self._experiment
        import wandb

        finish_wandb()  # of a training before that was left open
        try:
            run = self._start()
        except (wandb.errors.Error, OSError) as error:
            log.info("W&B: offline (%s); `wandb sync` uploads the run later", str(error).partition("\n")[0])
            self._wandb_init["mode"] = "offline"
            run = self._start()
        _PatientWandbLogger.under_way = run
        keep_run_id(Path(self._wandb_init["dir"]), run.id)
        if self._wandb_init["mode"] == "online":
            log.info("W&B: %s", run.url)
        return run

    def _start(self) -> Any:
        """Start a run of our own.

        Raises:
            ConfigurationError: Another run is open, and this release of W&B knows only one at a time.
        """
        import wandb

        with _as_logged():
            if _runs_side_by_side():  # Lightning would log into a run that is open, `wandb.init` by itself return it or end it
                self._experiment = wandb.init(**self._wandb_init, reinit="create_new")
                self._experiment.define_metric("trainer/global_step")  # as Lightning does
                self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)
            elif wandb.run is not None:
                raise ConfigurationError(
                    f"A W&B run that is not this training's is open ({wandb.run.id}), and wandb {wandb.__version__} knows one at a time."
                    " End it with wandb.finish(), or pip install -U wandb, or train with logger.wandb.mode=disabled."
                )
            return super().experiment


@contextmanager
def _as_logged() -> Iterator[None]:
    """Keep the environment from overruling what was decided and told: the mode, and whether and which run is continued."""
    names = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_RESUME")
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)


def _runs_side_by_side() -> bool:
    """Whether a run can be started that neither ends nor takes over one that is open; newer than our version floor."""
    import wandb

    return "create_new" in str(wandb.Settings.model_fields["reinit"].annotation)


def _new_id() -> str:
    """Eight characters, as W&B's own ids; not from the seeded generators, by which all runs of one seed would be one."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(8))


def _settings_of(run: Path) -> dict[str, Any]:
    """The resolved settings and the provenance that lie in the run folder, as plain containers; what is not there is left out."""
    settings: dict[str, Any] = {}
    try:
        config = OmegaConf.to_container(OmegaConf.load(run / "config.yaml"), resolve=True)
        settings |= {str(key): value for key, value in config.items()} if isinstance(config, dict) else {}
    except (OSError, ValueError, OmegaConfBaseException) as error:
        log.debug("No settings for W&B: %s", error)
    try:
        settings["provenance"] = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        log.debug("No provenance for W&B: %s", error)
    return settings


def _choices() -> dict[str, Any]:
    """The option chosen of each configuration group, such as the name of the method, which the settings themselves do not tell."""
    if not HydraConfig.initialized():
        return {}
    chosen = HydraConfig.get().runtime.choices.items()
    return {"choices": {str(group): str(option) for group, option in chosen if option and not str(group).startswith("hydra/")}}


def _wandb_settings() -> Any:
    """Settings of the W&B client: say nothing, upload no code, do not wait for ever."""
    import wandb

    settings: dict[str, Any] = {
        "silent": True,
        "console": "off",
        "save_code": False,
        "disable_code": True,
        "disable_git": True,
        "init_timeout": _INIT_SECONDS,
    }
    if "finish_timeout" in wandb.Settings.model_fields:  # newer than our version floor; what is not uploaded then stays on disk
        settings["finish_timeout"] = _FINISH_SECONDS
    return wandb.Settings(**settings)
