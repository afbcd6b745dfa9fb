"""What is analysed: a trained network, the images it is looked at with, and the run folder it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pin_memory.domains import DomainDataModule, EpisodeDataModule, MultiSourceDataModule
from pin_memory.domains.loading.compatibility import report
from pin_memory.evaluation.compared_runs import Run
from pin_memory.evaluation.targets import use_views
from pin_memory.inference.batch_norm import BatchNormStatistics
from pin_memory.inference.protocol import Protocol
from pin_memory.memory.geometry import gram
from pin_memory.methods import Method, TextAlignmentLoss
from pin_memory.networks import MemorySegmenter
from pin_memory.runs import build, checkpoints
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.own_folder import CHECKPOINTS
from pin_memory.utils.errors import ConfigurationError, DataError
from pin_memory.utils.labels import LabelSpace

Batches = DataLoader[Any]
Domains = Mapping[str, DomainDataModule]


@dataclass(frozen=True)
class Subject:
    """A trained network with images of its domains."""

    network: MemorySegmenter  # in eval mode, on its device
    method: str  # name of the method that trained it
    label_space: LabelSpace  # names and colours of its classes
    statistics: BatchNormStatistics  # what batch norm normalises by
    protocol: Protocol  # how the network is applied
    sources: Mapping[str, Batches]  # validation images by source
    targets: Mapping[str, Batches]  # test images by target
    added: tuple[str, ...]  # those of the targets that the run does not know
    stand_in: bool  # whether they are drawn stand-ins
    checkpoint: Path  # the file
    step: int  # iterations it was trained for
    run: Path | None  # the folder of its training, which may hold a memory trace; None if it does not lie in one
    evaluated: Run | None  # with results that are about this checkpoint; None if there are none
    text: Tensor | None = None  # cosines between the class-centred text prototypes of its training, (K, K); None without text
    alignment: TextAlignmentLoss | None = None  # with text, that it was trained with

    @property
    def domains(self) -> dict[str, Batches]:
        """Images of all domains, the sources first; a target that is named as a source has `-target` behind its name."""
        return {**self.sources, **{f"{name}-target" if name in self.sources else name: found for name, found in self.targets.items()}}


def load_subject(
    run_or_checkpoint: str | Path,
    domains: str | Sequence[str] | None = None,
    images: int = 20,
    data: str | Path | None = None,
    device: str | torch.device = "cpu",
    trust: Sequence[str] = (),
    output: str | Path = "runs",
    further: Mapping[str, Any] | None = None,
    pretrained: str | Path | None = None,
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
        further: Settings whose `data.targets` are looked at, too, as `checkpoints.rebuild_data` takes them.
        pretrained: Of a checkpoint without the weights of its frozen backbone: their file; None for that of this user's training.

    Raises:
        ConfigurationError: No checkpoint, a domain that neither the run nor `further` knows, or a further one that does not fit.
        DataError: Data are missing; one error for all domains.

    Example:
        `load_subject("runs/demo/2026-01-31_12-00-00", images=4).domains`
    """
    if isinstance(images, bool) or not isinstance(images, int) or images < 1:
        raise ConfigurationError(f"images={images}: expected a number of at least 1.")
    path = checkpoints.find_checkpoint(run_or_checkpoint)
    trained = checkpoints.load_method(path, trust, pretrained)
    module = checkpoints.rebuild_data(trained.checkpoint, data, further)
    if isinstance(module, EpisodeDataModule):
        raise ConfigurationError(f"{path} is of a few-shot run, which has learned no classes that could be analysed. Take evaluate.")
    checkpoints.check_same_classes(trained.checkpoint.label_space.names, module.outputs.names, path)
    several = isinstance(domains, Sequence) and not isinstance(domains, str)
    requested = domains if domains is None else [str(name) for name in (domains if several else [domains])]
    sources, targets = _choose(module, requested)
    use_views(module, trained.method.protocol)
    build.prepare_stand_ins(module, path, output)
    _check(module, sources, targets)
    trained.method.network.to(device)
    folder = Path(run_or_checkpoint).expanduser()
    folder = folder if folder.is_dir() else path.resolve().parent.parent
    return _subject(trained, path, folder, images, sources, targets, module.added)


def _subject(
    trained: checkpoints.Trained, path: Path, folder: Path, images: int, sources: Domains, targets: Domains, added: Sequence[str]
) -> Subject:
    """The subject of a checkpoint's method; `folder` is the one that may hold its results, `added` are domains that are new to it."""
    method, checkpoint = trained
    results = RunFolder(folder).results_of(path)
    return Subject(
        network=method.network,
        method=method.name,
        label_space=checkpoint.label_space,
        statistics=method.test_statistics,
        protocol=method.protocol,
        sources={name: _batches(domain, "val", images) for name, domain in sources.items()},
        targets={name: _batches(domain, "test", images) for name, domain in targets.items()},
        added=tuple(name for name in targets if name in added),
        stand_in=any(domain.stand_in for domain in (*sources.values(), *targets.values())),
        checkpoint=path,
        step=checkpoint.step,
        run=path.resolve().parent.parent if path.resolve().parent.name == CHECKPOINTS else None,
        evaluated=Run(folder, results) if results else None,
        text=_text(method),
        alignment=method.alignment,
    )


def _text(method: Method) -> Tensor | None:
    """How the classes lie to each other in the text that the memory started from, or that the features were aligned with."""
    if (found := getattr(method, "text_gram", None)) is not None:
        return found
    return None if method.network.alignment is None else gram(method.network.alignment.text)


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


def _check(module: MultiSourceDataModule, sources: Domains, targets: Domains) -> None:
    """Look for the data of all domains before anything heavy starts; one error for everything that is missing."""
    problems: dict[str, DataError] = {}
    for split, domains in (("val", sources), ("test", targets)):
        for name, domain in domains.items():
            try:
                domain.check([split])
            except DataError as error:
                problems.setdefault(name, error)
    with checkpoints.offering_added(module, "domains"):
        if problems:
            raise DataError(report(problems))
    checkpoints.check_added(module, targets)


def _batches(domain: DomainDataModule, split: str, images: int) -> Batches:
    """A loader of at most so many images of a domain."""
    limit = domain.loading.max_val_images if split == "val" else domain.loading.max_test_images
    limit = images if limit is None else min(images, limit)
    domain.loading = replace(domain.loading, max_val_images=limit, max_test_images=limit)
    return domain.val_dataloader() if split == "val" else domain.test_dataloader()
