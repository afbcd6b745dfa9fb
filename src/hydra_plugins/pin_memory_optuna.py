"""Hydra sweeper that lets a current Optuna propose the jobs (`hydra/sweeper=pin_memory_optuna`).

Hydra takes sweepers from the package `hydra_plugins` only. The public plugin, hydra-optuna-sweeper 1.3.0, needs Optuna below 3, whose
storage fails with SQLAlchemy 2; and when a search is started again, it makes all of `n_trials` once more.
"""

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.installation import install_hint

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)


class OptunaSearch(Sweeper):
    """Searches for the settings with the largest objective.

    A search that is started again resumes the trials in its storage: those that were cut off or failed are proposed again, with the same
    values and therefore into the same folders, and only what is missing of `n_trials` is made. conf/hydra/sweeper/pin_memory_optuna.yaml
    and docs/sweeps.md describe the arguments.
    """

    def __init__(
        self, n_trials: int, n_jobs: int, storage: str, study_name: str, sampler: DictConfig, seed: int | None, params: DictConfig | None
    ) -> None:
        if n_trials < 1 or n_jobs < 1:
            raise ConfigurationError(f"hydra.sweeper: n_trials={n_trials}, n_jobs={n_jobs}: expected at least 1 of each.")
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.storage, self.study_name = storage, study_name
        self.sampler, self.seed = sampler, seed
        self.params = dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Make the launcher (Hydra's interface)."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Propose, run and record jobs until enough have a score (Hydra's interface); `arguments` replace `params` of the same key."""
        fixed, space = self._space(arguments)
        study, state = self._study(), _optuna().trial.TrialState
        done = len(study.get_trials(deepcopy=False, states=[state.COMPLETE]))
        _propose_unfinished_again(study)
        log.info("Optuna: %d of %d trials have a score (%s)", done, self.n_trials, self.storage)
        for start in range(done, self.n_trials, self.n_jobs):
            try:
                trials = [study.ask(space) for _ in range(min(self.n_jobs, self.n_trials - start))]
            except ValueError as error:  # the storage knows a setting of the same name with another kind of distribution
                raise ConfigurationError(
                    f"The storage of the search holds another search space ({error}). Give this one a name: hydra.sweeper.study_name=NAME."
                ) from error
            proposals = [(*fixed, *(f"{key}={_rounded(value)}" for key, value in trial.params.items())) for trial in trials]
            scores = self._run(list(dict.fromkeys(proposals)), trials[0].number)
            for trial, proposal in zip(trials, proposals, strict=True):
                score = scores[proposal]
                study.tell(trial, score, state=state.FAIL if score is None else state.COMPLETE)  # a failure does not end the search

    def _space(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """Overrides that stay, and Optuna's distribution of each setting that is searched for."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        given = parser.parse_overrides([*(f"{key!s}={value!s}" for key, value in self.params.items()), *arguments])
        last = {override.get_key_element(): override for override in given}
        space = {key: _distribution(override) for key, override in last.items() if override.is_sweep_override()}
        if not space:
            raise ConfigurationError("Nothing to search for: give a setting a range, e.g. 'optimizer.lr=tag(log,interval(0.001,0.1))'.")
        fixed = [f"{key}={override.get_value_element_as_str()}" for key, override in last.items() if key not in space]
        # One value of each range, to see whether jobs compose before the first starts.
        self.validate_batch_is_legal([[*fixed, *(f"{key}={_first_value(last[key])}" for key in space)]])
        return fixed, space

    def _study(self) -> "optuna.Study":
        """The search in the storage, made where there is none."""
        optuna = _optuna()
        from hydra.utils import instantiate
        from sqlalchemy.exc import SQLAlchemyError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage: Any = self.storage
        try:
            if self.storage.endswith(".log"):
                from optuna.storages.journal import JournalFileBackend

                storage = optuna.storages.JournalStorage(JournalFileBackend(self.storage))
            study = optuna.create_study(study_name=self.study_name, storage=storage, direction="maximize", load_if_exists=True)
        except (SQLAlchemyError, ValueError, ImportError) as error:  # ImportError: the driver of the data base
            raise ConfigurationError(f"hydra.sweeper.storage={self.storage}: {str(error).splitlines()[0]}") from error
        # Another start must not repeat the random proposals of the first.
        seed = None if self.seed is None else self.seed + len(study.trials)
        study.sampler = instantiate(self.sampler, seed=seed)
        return study

    def _run(self, proposals: list[tuple[str, ...]], number: int) -> dict[tuple[str, ...], float | None]:
        """Launch jobs; the objective by proposal, None where a job failed."""
        assert self.launcher is not None
        returns = self.launcher.launch([list(proposal) for proposal in proposals], initial_job_idx=number)
        scores: dict[tuple[str, ...], float | None] = {}
        for proposal, job in zip(proposals, returns, strict=True):
            value = job.return_value  # raises what left a job that is not `train`
            scores[proposal] = float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None
        return scores


def _optuna() -> Any:
    """The module, which is an optional requirement."""
    try:
        import optuna
    except ImportError as error:
        raise ConfigurationError(f"A search needs Optuna: {install_hint('sweeps')}.") from error
    return optuna


def _distribution(override: Override) -> Any:
    """Optuna's distribution for Hydra's syntax; the choices and steps of a range are taken as they would be typed."""
    distributions = _optuna().distributions
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return distributions.CategoricalDistribution(list(override.sweep_string_iterator()))
    ends: list[Any] = [value.start, value.end]
    kind = distributions.IntDistribution if all(isinstance(end, int) for end in ends) else distributions.FloatDistribution
    try:
        return kind(*ends, log="log" in value.tags)
    except ValueError as error:
        raise ConfigurationError(f"{override.get_key_element()}={override.get_value_element_as_str()}: {error}") from error


def _first_value(override: Override) -> Any:
    """The first value of a range or a list of choices."""
    value = override.value()
    return value.start if isinstance(value, IntervalSweep) else next(iter(override.sweep_string_iterator()))


def _rounded(value: Any) -> str:
    """A proposed value as an override; four digits of a fraction say as much as seventeen and make folders with readable names."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _propose_unfinished_again(study: "optuna.Study") -> None:
    """Put the settings of trials without a score, failed or cut off by the end of the process, at the head of the queue."""
    state = _optuna().trial.TrialState
    settled = [trial.params for trial in study.get_trials(deepcopy=False, states=[state.COMPLETE])]
    for trial in study.get_trials(deepcopy=False, states=[state.RUNNING, state.FAIL]):
        if trial.state == state.RUNNING:
            study.tell(trial.number, state=state.FAIL)
        if trial.params and trial.params not in settled:
            settled.append(trial.params)
            study.enqueue_trial(trial.params)
