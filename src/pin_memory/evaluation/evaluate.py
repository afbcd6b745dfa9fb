"""The command `evaluate`: networks and targets rebuilt from checkpoints, evaluated, and several put next to each other."""

import re
from collections import Counter, deque
from collections.abc import Sequence
from copy import copy
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from hydra.utils import instantiate
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import Callback, Trainer, seed_everything
from omegaconf import DictConfig, ListConfig, OmegaConf

from pin_memory.callbacks import PredictionPanels, TrainingProgress
from pin_memory.domains import Corruption, DomainDataModule, EpisodeDataModule, MultiSourceDataModule
from pin_memory.domains.loading.corruptions import KINDS, SETS
from pin_memory.evaluation.compare import compare, show_comparison
from pin_memory.evaluation.compared_runs import Run, read_run, read_runs
from pin_memory.evaluation.targets import evaluate_targets, floor_scores, use_views, write_evaluation
from pin_memory.inference import BatchNormStatistics
from pin_memory.inference.protocols import recorded_name
from pin_memory.methods import Method
from pin_memory.runs import build, checkpoints
from pin_memory.runs.folder import SETTINGS
from pin_memory.runs.own_folder import CHECKPOINTS
from pin_memory.runs.provenance import backbone_licence
from pin_memory.runs.results import Results, gain_over
from pin_memory.utils.choices import chosen, severities
from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import write_text
from pin_memory.utils.tables import check_formats


class _Task(NamedTuple):
    """A checkpoint to evaluate, the name it has in tables, and the folder for its results."""

    path: Path
    label: str
    folder: Path


class _Loaded(NamedTuple):
    """A task with the trained method, the record in its checkpoint (without the weights) and the data."""

    task: _Task
    method: Method
    checkpoint: checkpoints.Checkpoint
    data: MultiSourceDataModule


def evaluate(cfg: DictConfig) -> list[Results]:
    """The command `evaluate`: evaluate checkpoints, each on the targets of its run."""
    build.quiet_lightning()
    tables = check_formats(cfg.tables, "tables")
    tasks = _tasks(cfg)
    name, earlier = _find_baseline(cfg, tasks)
    waiting = deque(_load(cfg, task, earlier) for task in tasks)  # what is wrong with the last is found before the first is evaluated
    known = [(one.task.label, one.method.name, str(one.checkpoint.cfg.get("name"))) for one in waiting]
    if name and not earlier and name not in (choices := list(dict.fromkeys(chain(*known)))):
        names = ", ".join(choices)
        raise ConfigurationError(f"baseline={name} is neither a run folder nor one of the checkpoints; choose one of {names}.")
    results = []
    while waiting:  # each is let go when it is done
        results.append(_evaluate(cfg, waiting.popleft(), tables, earlier))
    if len(tasks) > 1:
        runs = read_runs([*([earlier.folder] if earlier else []), *(task.folder for task in tasks)])  # an earlier run has a row, too
        show_comparison(compare(runs, name, over_seeds=False), Path(cfg.paths.run), [*tables, "json"])
    return results


def _tasks(cfg: DictConfig) -> list[_Task]:
    """The checkpoints, with names that tell them apart."""
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
    names = [part for part in path.resolve().with_suffix("").parts if part != CHECKPOINTS]
    return "/".join(names[-parts:])


def _find_baseline(cfg: DictConfig, tasks: Sequence[_Task]) -> tuple[str | None, Run | None]:
    """What the setting `baseline` means: the name of a row among several checkpoints, or an earlier run and the folder it is named by."""
    if cfg.baseline is None:
        return None, None
    name, path = str(cfg.baseline), Path(str(cfg.baseline)).expanduser()
    if len(tasks) > 1:
        file = checkpoints.find_checkpoint(path).resolve() if path.is_file() or (path / CHECKPOINTS).is_dir() else None
        for task in tasks:
            if name == task.label or file == task.path.resolve():
                return task.label, None
        if not path.exists():
            return name, None
    earlier = read_run(name, "baseline")
    return str(earlier.folder), earlier


def _load(cfg: DictConfig, task: _Task, baseline: Run | None) -> _Loaded:
    """Rebuild the trained method of a checkpoint, to be applied as the configuration says, and its data with the requested targets.

    Requested are by default the targets of its run, and those that the configuration adds.
    """
    method, checkpoint = checkpoints.load_method(task.path, list(cfg.trust), cfg.pretrained)
    if cfg.test_statistics is not None:
        method.test_statistics = BatchNormStatistics.from_setting(cfg.test_statistics)
    if cfg.get("protocol") is not None:
        method.protocol = instantiate(cfg.protocol)
    data = checkpoints.rebuild_data(checkpoint, cfg.paths.data or None, plain(cfg))
    if isinstance(data, EpisodeDataModule):
        if cfg.floors:
            raise ConfigurationError("floors=true: few-shot segmentation has no floors. Leave it out.")
        method.network.set_classes(len(data.outputs))
    else:
        checkpoints.check_same_classes(checkpoint.label_space.names, data.outputs.names, task.path)
    several = isinstance(cfg.targets, Sequence) and not isinstance(cfg.targets, str)
    requested = [str(name) for name in (cfg.targets if several else [cfg.targets])] if cfg.targets else list(data.target_names)
    if unknown := set(requested) - set(data.target_names):
        raise ConfigurationError(f"targets={cfg.targets}: the run has no {', '.join(unknown)}, only {', '.join(data.target_names)}.")
    data.targets = {name: data.targets[name] for name in data.target_names if name in requested}
    grades = severities(cfg.corruptions, cfg.severity)
    if cfg.corruptions is not None:
        data.targets = corrupted(data, cfg.corruptions, grades)
    build.prepare_stand_ins(data, task.path, str(cfg.paths.output))
    with checkpoints.offering_added(data, "targets"):
        data.check(sources=cfg.floors)  # looked for, not read
    checkpoints.check_added(data, data.targets)
    use_views(data, method.protocol)
    if baseline:
        _check_baseline(baseline, method, data)
    return _Loaded(task, method, checkpoint._replace(state={}), data)


def corrupted(data: MultiSourceDataModule, kinds: str | Sequence[str], grades: Sequence[int]) -> dict[str, DomainDataModule]:
    """Each target once with each corruption and severity, `NAME_KIND_SEVERITY`; refused for few-shot runs."""
    if isinstance(data, EpisodeDataModule):
        raise ConfigurationError("corruptions: episodes of a few-shot run are not corrupted. Leave it out.")
    named = chosen("corruptions", kinds, (*KINDS, *SETS)) or []
    every: dict[Any, None] = dict.fromkeys(kind for name in named for kind in SETS.get(name, (name,)))  # each once
    corruptions = [Corruption(kind, severity) for kind in every for severity in grades]
    found, added = {}, []
    for name, domain in data.targets.items():
        for corruption in corruptions:
            found[new := f"{name}_{corruption.kind}_{corruption.severity}"] = other = copy(domain)
            other.corruption = corruption
            added += [new] if name in data.added else []
    data.added = tuple(added)
    return found


def _check_baseline(baseline: Run, method: Method, data: MultiSourceDataModule) -> None:
    """Refuse a baseline whose scores cannot be compared with what is about to be measured."""
    if baseline.results.protocol != (protocol := recorded_name(method.protocol)):
        raise ConfigurationError(
            f"baseline={baseline.folder} was evaluated by protocol {baseline.results.protocol}, this evaluation uses {protocol}. Evaluate"
            " the baseline by the same protocol first, or set protocol=NAME."
        )
    if baseline.results.stand_in != data.uses_stand_ins:
        raise ConfigurationError(
            f"baseline={baseline.folder}: STAND-IN scores cannot be compared with real ones, and one of the two runs has stand-ins."
        )


def _evaluate(cfg: DictConfig, loaded: _Loaded, tables: Sequence[str], baseline: Run | None) -> Results:
    """Evaluate one checkpoint and write its results."""
    task, method, checkpoint, data = loaded
    seed_everything(checkpoint.cfg.seed, verbose=False)  # decides the untrained network of the floors
    panels = PredictionPanels(task.folder / "panels")
    callbacks: list[Callback] = [panels, TrainingProgress()]
    try:
        trainer = Trainer(accelerator=cfg.accelerator, devices=1, logger=False, callbacks=callbacks, default_root_dir=task.folder)
    except (ValueError, MisconfigurationException) as error:
        raise ConfigurationError(f"accelerator={cfg.accelerator}: {error}") from error
    untrained = build.build_untrained(checkpoint.cfg).network if cfg.floors else None
    floors = floor_scores(data, untrained, trainer.strategy.root_device, protocol=method.protocol) if untrained else None
    results = evaluate_targets(
        method,
        data,
        trainer,
        checkpoint.choices,
        experiment=checkpoint.cfg.get("name"),
        label=task.label,
        seed=checkpoint.cfg.seed,
        selection=f"{task.path.name} (step {checkpoint.step})",
        floors=floors,
        checkpoint=str(task.path.resolve()),
        source_validation=checkpoint.source_validation,
        **({"backbone_licence": licence} if (licence := backbone_licence(OmegaConf.select(checkpoint.cfg, "network.backbone"))) else {}),
    )
    if baseline:
        results = results.model_copy(update={"gain": gain_over(results, baseline.results, str(cfg.baseline))})
    write_text(task.folder / SETTINGS, OmegaConf.to_yaml(checkpoint.recorded))  # with its references: `compare` reads it
    write_evaluation(results, task.folder, panels.overview, tables)
    return results
