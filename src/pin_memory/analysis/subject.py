"""What is analysed: a trained network, the images it is looked at with, and the run folder it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from pin_memory.domains import DomainDataModule, MultiSourceDataModule
from pin_memory.domains.loading.compatibility import report
from pin_memory.evaluation.targets import use_views
from pin_memory.inference.batch_norm import BatchNormStatistics
from pin_memory.inference.protocol import Protocol
from pin_memory.networks import MemorySegmenter
from pin_memory.runs import build, checkpoints
from pin_memory.runs.folder import RunFolder
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import LabelSpace

Batches = DataLoader[Any]
Domains = Mapping[str, DomainDataModule]


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
        evaluated: The folder whose `results.json` is about this checkpoint; None if there is none.
    """

    network: MemorySegmenter
    method: str
    label_space: LabelSpace
    statistics: BatchNormStatistics
    protocol: Protocol
    sources: Mapping[str, Batches]
    targets: Mapping[str, Batches]
    stand_in: bool
    checkpoint: Path
    step: int
    run: Path | None
    evaluated: RunFolder | None

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
        trust: Packages, next to this library, whose classes the checkpoint may name; loading calls them.
        output: The folder of runs, below which the stand-ins of a run may be drawn anew.

    Raises:
        ConfigurationError: No checkpoint, or a domain that the run does not know.
        DataError: Data are missing; one error for all domains.

    Example:
        `load_subject("runs/demo/2026-01-31_12-00-00", images=4).domains`
    """
    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise ConfigurationError(f"images={images}: expected a number of at least 1.")
    given = Path(run_or_checkpoint).expanduser()
    path = checkpoints.find_checkpoint(given)
    method, checkpoint = checkpoints.load_method(path, trust)
    if data is not None:
        OmegaConf.update(checkpoint.cfg, "paths.data", str(data))
    module = build.build_data(checkpoint.cfg)
    if data is not None:
        module.stand_in = None  # draw into the run's own folder, never into the user's
    sources, targets = _choose(module, [domains] if isinstance(domains, str) else domains)
    use_views(module, method.protocol)
    build.prepare_stand_ins(module, path, output)
    _check(sources, targets)
    run = path.resolve().parent.parent
    evaluated = RunFolder(given if given.is_dir() else run)
    return Subject(
        network=method.network.to(device).eval(),
        method=method.name,
        label_space=checkpoint.label_space,
        statistics=method.test_statistics,
        protocol=method.protocol,
        sources={name: _batches(domain, "val", images) for name, domain in sources.items()},
        targets={name: _batches(domain, "test", images) for name, domain in targets.items()},
        stand_in=any(domain.stand_in for domain in (*sources.values(), *targets.values())),
        checkpoint=path,
        step=checkpoint.step,
        run=run if path.resolve().parent.name == "checkpoints" else None,
        evaluated=evaluated if evaluated.results_of(path) else None,
    )


def _choose(module: MultiSourceDataModule, requested: Sequence[str] | None) -> tuple[Domains, Domains]:
    """The sources and targets to look at."""
    known = [*module.sources, *module.targets]
    if unknown := [name for name in requested or () if name not in known]:
        raise ConfigurationError(f"domains: the run has no {', '.join(unknown)}; choose among {', '.join(known)}.")
    chosen = [*module.validation_names, *module.targets] if requested is None else requested
    if not chosen:
        raise ConfigurationError("domains=[]: expected one at least, or null for all." if known else "The run has no domains.")
    sources = {name: domain for name, domain in module.sources.items() if name in chosen}
    return sources, {name: domain for name, domain in module.targets.items() if name in chosen}


def _check(sources: Domains, targets: Domains) -> None:
    """Look for the data of all domains before anything heavy starts; one error for everything that is missing."""
    problems: dict[str, DataError] = {}
    for split, domains in (("val", sources), ("test", targets)):
        for name, domain in domains.items():
            try:
                domain.check([split])
            except DataError as error:
                problems.setdefault(name, error)
    if problems:
        raise DataError(report(problems))


def _batches(domain: DomainDataModule, split: str, images: int) -> Batches:
    """A loader of at most so many images of a domain."""
    limits = domain.loading.max_val_images, domain.loading.max_test_images
    least_val, least_test = (images if limit is None else min(images, limit) for limit in limits)
    domain.loading = replace(domain.loading, max_val_images=least_val, max_test_images=least_test)
    return domain.val_dataloader() if split == "val" else domain.test_dataloader()
