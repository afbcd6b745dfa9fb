"""What is analysed: a trained network, the images it is looked at with, and the run folder it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from pin_memory.domains.readers.base import DEMO, MissingDataError
from pin_memory.inference.batch_norm import TestStatistics
from pin_memory.inference.protocol import Protocol
from pin_memory.networks import MemorySegmenter
from pin_memory.runs import checkpoints, results
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import LabelSpace

if TYPE_CHECKING:
    from pin_memory.domains import MultiSourceDataModule

Batches = DataLoader[Any]


@dataclass(frozen=True)
class Subject:
    """A trained network with images of its domains.

    Attributes:
        network: In eval mode, on its device.
        method: Name of the method that trained it.
        label_space: Names and colours of its classes.
        statistics: What batch norm normalises by.
        protocol: How the network is applied.
        sources: Validation images by source.
        targets: Test images by target.
        stand_in: Whether they are drawn stand-ins.
        checkpoint: The file.
        step: Iterations it was trained for.
        run: The folder of its training, which may hold a memory trace; None if it does not lie in one.
        judged: The folder whose `results.json` is about this checkpoint; None if there is none.
    """

    network: MemorySegmenter
    method: str
    label_space: LabelSpace
    statistics: TestStatistics
    protocol: Protocol
    sources: Mapping[str, Batches]
    targets: Mapping[str, Batches]
    stand_in: bool
    checkpoint: Path
    step: int
    run: Path | None
    judged: Path | None

    @property
    def domains(self) -> dict[str, Batches]:
        """Images of all domains, the sources first; a target that is named as a source is told apart."""
        return {**self.sources, **{f"{name}-target" if name in self.sources else name: found for name, found in self.targets.items()}}


def load_subject(
    run_or_checkpoint: str | Path,
    domains: str | Sequence[str] | None = None,
    images: int = 20,
    data: str | Path | None = None,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    output: str | Path = "runs",
) -> Subject:
    """Load a trained network and list images of its domains: validation images of sources, test images of targets.

    Args:
        run_or_checkpoint: A run folder or a checkpoint file.
        domains: Names of sources and targets of the run; None for all.
        images: Of each domain at most so many, evenly spaced.
        data: Where the data sets lie now; None for where the run found them.
        device: Where the network shall run.
        trust: Packages besides this library whose classes the checkpoint may name; loading calls them.
        output: The folder of runs, below which the stand-ins of a run may be drawn anew.

    Raises:
        ConfigurationError: No checkpoint, or a domain that the run does not know.
        DataError: Data are missing; one error for all domains.

    Example:
        `load_subject("runs/demo/2026-01-31_12-00-00", images=4).domains`
    """
    from pin_memory.evaluation.judge import use_views
    from pin_memory.runs import build  # as for `inference.load_model`: assembly builds on this

    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise ConfigurationError(f"images={images}: expected a number of at least 1.")
    path = checkpoints.find_checkpoint(run_or_checkpoint)
    method, checkpoint = checkpoints.load_method(path, trust)
    if data is not None:
        OmegaConf.update(checkpoint.cfg, "paths.data", str(data))
    module = build.build_data(checkpoint.cfg)
    if data is not None:
        module.stand_in = None  # draw into the run's own folder, never into the user's
    sources, targets = _choose(module, [domains] if isinstance(domains, str) else domains)
    use_views(module, method.protocol)
    build.prepare_stand_ins(module, path, output)
    _check(module, sources, targets)
    shown = [*(module.sources[name] for name in sources), *(module.targets[name] for name in targets)]
    return Subject(
        network=method.network.to(device).eval(),
        method=method.name,
        label_space=checkpoint.label_space,
        statistics=method.test_statistics,
        protocol=method.protocol,
        sources={name: _batches(module, name, "val", images) for name in sources},
        targets={name: _batches(module, name, "test", images) for name in targets},
        stand_in=any(domain.stand_in for domain in shown),
        checkpoint=path,
        step=checkpoint.step,
        run=path.resolve().parent.parent if path.resolve().parent.name == "checkpoints" else None,
        judged=_judged(Path(run_or_checkpoint).expanduser(), path),
    )


def read_results(folder: str | Path) -> dict[str, Any]:
    """The content of the `results.json` of a judged run.

    Raises:
        ConfigurationError: There is none, or it is not one of this library.
    """
    try:
        return results.read_results(Path(folder).expanduser() / results.RESULTS)
    except ConfigurationError as error:
        raise ConfigurationError(f"{folder}: expected the folder of a judged run or of an evaluation. {error}") from error


def _choose(module: "MultiSourceDataModule", wanted: Sequence[str] | None) -> tuple[list[str], list[str]]:
    """Names of the sources and targets to look at.

    Raises:
        ConfigurationError: One is not of the run, or none is left.
    """
    known = [*module.sources, *module.targets]
    if unknown := [name for name in wanted or () if name not in known]:
        raise ConfigurationError(f"domains: the run has no {', '.join(unknown)}; choose among {', '.join(known)}.")
    sources = [name for name in (module.validation_names if wanted is None else module.sources) if wanted is None or name in wanted]
    targets = [name for name in module.targets if wanted is None or name in wanted]
    if not sources and not targets:
        raise ConfigurationError("domains=[]: expected one at least, or null for all." if known else "The run has no domains.")
    return sources, targets


def _check(module: "MultiSourceDataModule", sources: Sequence[str], targets: Sequence[str]) -> None:
    """Look for the data of all domains before anything heavy starts.

    Raises:
        DataError: One error for everything that is missing.
    """
    problems: dict[str, list[str]] = {}
    missing = False
    for name, domain, split in [(n, module.sources[n], "val") for n in sources] + [(n, module.targets[n], "test") for n in targets]:
        try:
            domain.check([split])
        except DataError as error:
            missing |= isinstance(error, MissingDataError)
            problems.setdefault(error.report if isinstance(error, MissingDataError) else str(error), []).append(name)
    if problems:
        parts = [f"[{', '.join(names)}] {report}" for report, names in problems.items()]
        hint = [f"Where the data sets lie now is set by paths.data=DIR.\n\n{DEMO}"] if missing else []
        raise DataError("\n\n".join([*parts, *hint]))


def _batches(module: "MultiSourceDataModule", name: str, split: str, images: int) -> Batches:
    """A loader of at most so many images of a domain."""
    domain = module.sources[name] if split == "val" else module.targets[name]
    limits = domain.loading.max_val_images, domain.loading.max_test_images
    least_val, least_test = (images if limit is None else min(images, limit) for limit in limits)
    domain.loading = replace(domain.loading, max_val_images=least_val, max_test_images=least_test)
    return domain.val_dataloader() if split == "val" else domain.test_dataloader()


def _judged(given: Path, checkpoint: Path) -> Path | None:
    """The folder whose results are about the checkpoint: the given one, or the one that the checkpoint lies in."""
    folder = given if given.is_dir() else checkpoint.resolve().parent.parent
    try:
        named = folder / str(read_results(folder)["checkpoint"])
    except (ConfigurationError, KeyError):
        return None
    return folder if named.resolve() == checkpoint.resolve() else None
