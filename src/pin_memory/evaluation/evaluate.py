"""The command `evaluate`: rebuild networks and targets from checkpoints, judge them, and put several beside each other."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, ListConfig, OmegaConf

from pin_memory.callbacks import PredictionPanels, TrainingProgress
from pin_memory.domains import MultiSourceDataModule
from pin_memory.evaluation.compare import compare, gain_over, read_runs
from pin_memory.evaluation.compare_tables import comparison_table, write_comparison
from pin_memory.evaluation.judge import floor_scores, judge, report, use_views
from pin_memory.inference import TestStatistics
from pin_memory.inference.protocols import recorded_name
from pin_memory.methods import Method
from pin_memory.runs import build, checkpoints
from pin_memory.runs.checkpoints import Checkpoint, check_same_classes
from pin_memory.runs.comparison_runs import SETTINGS
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import write_text
from pin_memory.utils.tables import check_formats


class _Task(NamedTuple):
    """A checkpoint to judge, the name it has in tables, and the folder for its results."""

    path: Path
    label: str
    folder: Path


def evaluate(cfg: DictConfig) -> list[dict[str, Any]]:
    """Judge checkpoints, each on the targets of its run.

    Args:
        cfg: The composed configuration.

    Returns:
        The content of `results.json` of each checkpoint.

    Raises:
        ConfigurationError: No checkpoint, a target that its run does not know, or a baseline that does not fit.
        DataError: A target's data is missing.
    """
    build.quiet_lightning()
    tables = check_formats(cfg.tables, "tables")
    tasks = _tasks(cfg)
    baseline = _read_baseline(cfg, tasks)
    if len(tasks) > 1:
        _check_all(cfg, tasks, baseline)
    judged = [_judge_one(cfg, task, tables, baseline) for task in tasks]
    if len(tasks) > 1:
        _put_together(cfg, tasks, baseline, tables)
    return judged


def _tasks(cfg: DictConfig) -> list[_Task]:
    """The checkpoints, with names that tell them apart.

    Raises:
        ConfigurationError: One is missing, or is given twice.
    """
    given = list(cfg.checkpoint) if isinstance(cfg.checkpoint, ListConfig) else [cfg.checkpoint]
    if not given:
        raise ConfigurationError("checkpoint=[]: give a run folder or a checkpoint file, or several.")
    paths = [checkpoints.find_checkpoint(str(one)) for one in given]
    for path, times in Counter(path.resolve() for path in paths).items():
        if times > 1:
            raise ConfigurationError(f"checkpoint={path} is given {times} times.")
    run = Path(cfg.paths.run)
    if len(paths) == 1:
        return [_Task(paths[0], _label(paths[0], 2), run)]
    parts = next((n for n in range(1, 12) if len({_label(path, n) for path in paths}) == len(paths)), 12)
    labels = [_label(path, parts) for path in paths]
    return [_Task(path, label, run / re.sub(r"[^\w.=-]+", "_", label)) for path, label in zip(paths, labels, strict=True)]


def _label(path: Path, parts: int) -> str:
    """The last parts of a checkpoint's path, without `checkpoints` and the suffix: `2026-01-31_12-00-00/best`."""
    words = [part for part in path.resolve().with_suffix("").parts if part != "checkpoints"]
    return "/".join(words[-parts:])


def _read_baseline(cfg: DictConfig, tasks: Sequence[_Task]) -> dict[str, Any] | None:
    """The results of the run that all are compared with; None without, or where it is one of the checkpoints.

    Raises:
        ConfigurationError: There are none, or several.
    """
    name = str(cfg.baseline)
    if cfg.baseline is None or _among(name, tasks) or (len(tasks) > 1 and not Path(name).expanduser().exists()):
        return None
    runs = read_runs(name, "baseline")
    if len(runs) > 1:
        raise ConfigurationError(f"baseline={name} holds {len(runs)} runs; give the folder of one.")
    return runs[0]


def _among(baseline: str, tasks: Sequence[_Task]) -> _Task | None:
    """The checkpoint among several that a baseline means, by its label, its file or its run folder."""
    if len(tasks) == 1:
        return None
    path = Path(baseline).expanduser()
    file = checkpoints.find_checkpoint(path).resolve() if path.is_file() or (path / "checkpoints").is_dir() else None
    return next((task for task in tasks if baseline == task.label or file == task.path.resolve()), None)


def _check_all(cfg: DictConfig, tasks: Sequence[_Task], baseline: dict[str, Any] | None) -> None:
    """Tell what is wrong with the last checkpoint before the first one is judged.

    Raises:
        ConfigurationError: As `evaluate`; also a baseline that is none of the checkpoints.
        DataError: A target's data is missing.
    """
    names = [task.label for task in tasks]
    for task in tasks:
        method, chosen = _rebuild(task.path, cfg)
        data = _targets(cfg, task.path, chosen, method)
        if baseline:
            _check_baseline(baseline, method, data)
        names += [method.name, str(chosen.cfg.get("name"))]
    if cfg.baseline is not None and not baseline and not _among(str(cfg.baseline), tasks) and str(cfg.baseline) not in names:
        known = ", ".join(dict.fromkeys(names))
        raise ConfigurationError(f"baseline={cfg.baseline} is neither a run folder nor one of the checkpoints; choose one of {known}.")


def _rebuild(path: Path, cfg: DictConfig) -> checkpoints.Trained:
    """The trained method of a checkpoint, to be applied as the configuration says."""
    method, chosen = checkpoints.load_method(path, list(cfg.trust))
    if cfg.test_statistics is not None:
        given = cfg.test_statistics
        method.test_statistics = TestStatistics(given) if isinstance(given, str) else TestStatistics(**given)
    if cfg.get("protocol") is not None:
        method.protocol = instantiate(cfg.protocol)
    return checkpoints.Trained(method, chosen)


def _targets(cfg: DictConfig, path: Path, chosen: Checkpoint, method: Method) -> MultiSourceDataModule:
    """The data of a checkpoint's run, with the targets that are asked for; looked for, not read.

    Raises:
        ConfigurationError: The run has no such target, or the data have other classes.
        DataError: One is missing.
    """
    if cfg.paths.data:
        OmegaConf.update(chosen.cfg, "paths.data", str(cfg.paths.data))
    data = build.build_data(chosen.cfg)
    if cfg.paths.data:
        data.stand_in = None  # draw into the run's own folder, never into the user's
    check_same_classes(chosen.label_space.names, data.label_space.names, path)
    wanted = [cfg.targets] if isinstance(cfg.targets, str) else list(cfg.targets or data.target_names)
    if unknown := set(wanted) - set(data.target_names):
        raise ConfigurationError(f"targets={cfg.targets}: the run has no {', '.join(unknown)}, only {', '.join(data.target_names)}.")
    data.targets = {name: data.targets[name] for name in data.target_names if name in wanted}
    build.prepare_stand_ins(data, path, str(cfg.paths.output))
    data.check(sources=cfg.floors)
    use_views(data, method.protocol)
    return data


def _judge_one(cfg: DictConfig, task: _Task, tables: Sequence[str], baseline: dict[str, Any] | None) -> dict[str, Any]:
    """Judge one checkpoint and write its results."""
    method, chosen = _rebuild(task.path, cfg)
    seed_everything(chosen.cfg.seed, verbose=False)  # decides the untrained network of the floors
    data = _targets(cfg, task.path, chosen, method)
    if baseline:
        _check_baseline(baseline, method, data)
    panels = PredictionPanels(task.folder / "panels")
    trainer = _trainer(cfg, [panels, TrainingProgress()], task.folder)
    untrained = build.build_untrained(chosen.cfg).network if cfg.floors else None
    floors = floor_scores(data, untrained, trainer.strategy.root_device, protocol=method.protocol) if untrained else None
    about = {
        "experiment": chosen.cfg.get("name"),
        "label": task.label,
        "seed": chosen.cfg.seed,
        "selection": f"{task.path.name} (step {chosen.step})",
        "floors": floors,
        "checkpoint": str(task.path.resolve()),
        "source_validation": chosen.source_validation,
    }
    results = judge(method, data, trainer, chosen.choices, **about)
    if baseline:
        results["gain"] = gain_over(results, baseline, str(cfg.baseline))
    write_text(task.folder / SETTINGS, OmegaConf.to_yaml(chosen.recorded))  # with its references: `compare` reads it
    report(results, task.folder, panels.paths, tables)
    return results


def _trainer(cfg: DictConfig, callbacks: list[Callback], folder: Path) -> Trainer:
    """Runs the test loop.

    Raises:
        ConfigurationError: There is no such accelerator.
    """
    try:
        return Trainer(accelerator=cfg.accelerator, devices=1, logger=False, callbacks=callbacks, default_root_dir=folder)
    except (ValueError, MisconfigurationException) as error:
        raise ConfigurationError(f"accelerator={cfg.accelerator}: {error}") from error


def _check_baseline(baseline: dict[str, Any], method: Method, data: MultiSourceDataModule) -> None:
    """Refuse a baseline whose scores cannot be compared with what is about to be measured.

    Raises:
        ConfigurationError: Another protocol, or stand-ins on one side alone.
    """
    if baseline["protocol"] != (protocol := recorded_name(method.protocol)):
        raise ConfigurationError(
            f"baseline={baseline['folder']} was judged by protocol {baseline['protocol']}, this evaluation goes by {protocol}. Evaluate the"
            " baseline by the same protocol first, or give protocol=NAME."
        )
    if bool(baseline.get("stand_in")) != data.uses_stand_ins:
        raise ConfigurationError(
            f"baseline={baseline['folder']}: STAND-IN scores cannot be compared with real ones, and one of the two runs has stand-ins."
        )


def _put_together(cfg: DictConfig, tasks: Sequence[_Task], baseline: dict[str, Any] | None, tables: Sequence[str]) -> None:
    """One table of all checkpoints, written beside their folders; a baseline that is none of them has a row, too."""
    runs = read_runs([*([baseline["folder"]] if baseline else []), *(task.folder for task in tasks)])
    name = None if cfg.baseline is None else str(cfg.baseline)
    if name is not None:
        own = _among(name, tasks)
        name = own.label if own else baseline["folder"] if baseline else name
    comparison = compare(runs, name, over_seeds=False)
    print(f"\n{comparison_table(comparison).text()}\n")
    for path in write_comparison(comparison, Path(cfg.paths.run), [*tables, "json"]):
        print(f"Table     {path}")
