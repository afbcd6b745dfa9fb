"""What domains have to fulfil together: classes, crops, targets that training does not see; and one report for all that is missing."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pin_memory.domains.loading.data_module import DomainDataModule, shared_with_training
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import DEMO, Images, MissingDataError, seen_images
from pin_memory.utils.errors import ConfigurationError, DataError

log = logging.getLogger(__name__)


def require_data_sets(domains: Mapping[Any, Any], place: str) -> None:
    """Refuse entries of `data.<place>` that are no data set, such as one option without the rest, and names that were read as numbers."""
    for name, domain in domains.items():
        if not isinstance(domain, DomainDataModule):
            raise ConfigurationError(
                f"data.{place}.{name} is no data set ({domain!r}): add a complete one, as in +domain@data.{place}.{name}=gtav."
            )
        if not isinstance(name, str):
            raise ConfigurationError(f"The name {name!r} of a domain was read as a number: quote it in the YAML file.")


def require_any(domains: Mapping[str, Any], kind: str) -> None:
    """Refuse to continue without any domain of a kind ("source" or "target")."""
    if not domains:
        raise ConfigurationError(f"No {kind} domain is configured: add one to data.{kind}s.")


def require_sources(setting: str, names: Sequence[str], sources: Mapping[str, Any]) -> None:
    """Refuse names of sources that are not there."""
    if unknown := set(names) - set(sources):
        raise ConfigurationError(f"data.{setting} names {sorted(unknown)}; the sources are {list(sources)}.")


def require_one_crop(sources: Mapping[str, DomainDataModule]) -> None:
    """Refuse sources of different crop sizes, whose images cannot be put into one batch."""
    augmentations = {name: domain.augmentation for name, domain in sources.items()}
    sizes = {name: augmentation.crop_size for name, augmentation in augmentations.items() if isinstance(augmentation, TrainTransform)}
    first = next(iter(sizes), "")
    for name, size in sizes.items():
        if size != sizes[first]:
            raise ConfigurationError(
                f"Source {first!r} is cropped to {sizes[first][0]}x{sizes[first][1]} pixels, {name!r} to {size[0]}x{size[1]}, but one batch"
                " takes them all. A source with an augmentation of its own has a crop of its own, too: give it that of the others with"
                " data.sources.NAME.augmentation.crop_size (and scale), or leave augmentation.crop_size as it was."
            )


def require_unseen(sources: Mapping[str, DomainDataModule], targets: Mapping[str, DomainDataModule]) -> None:
    """Refuse a target whose data a source has under whatever name: its score would count as one on an unseen domain."""
    for target, evaluated in targets.items():
        for source, trained in sources.items():
            if identity(evaluated) == identity(trained):
                raise ConfigurationError(
                    f"The target {target!r} is the same data as the source {source!r} ({evaluated.title} in {evaluated.root}), but targets"
                    f" are to be unseen in training. Take one of the two out: ~data.targets.{target} or ~data.sources.{source}."
                )


def require_unseen_images(sources: Mapping[str, Images], targets: Mapping[str, Images]) -> None:
    """Refuse a target that has images in common with a source, by whatever names or links, such as one condition of a source's data set."""
    for target, evaluated in targets.items():
        for source, trained in sources.items():
            if common := seen_images(evaluated, trained):
                raise ConfigurationError(
                    f"{len(common)} of the {len(evaluated)} images of the target {target!r} are also among those of the source {source!r},"
                    f" such as {common[0]}, but targets are to be unseen in training. Take one of the two out, or separate their images."
                )


def require_unseen_here(sources: Mapping[str, DomainDataModule], targets: Mapping[str, DomainDataModule]) -> list[str]:
    """`require_unseen_images` on the sources whose data are here; returns the names of the others, of which it is not known."""
    trained: dict[str, Images] = {}
    for name, domain in sources.items():
        with suppress(DataError):
            trained[name] = domain.check(("train", "val"))
    require_unseen_images(trained, {name: domain.check(("test",)) for name, domain in targets.items()})
    return [name for name in sources if name not in trained]


def report_trained_validation(sources: Mapping[str, DomainDataModule]) -> None:
    """Warn of sources that validate on images that another one trains on."""
    for name, sentence in trained_validation(
        {name: {split: one.dataset(split) for split in ("train", "val")} for name, one in sources.items()}
    ):
        log.warning("%s: %s", name, sentence)


def trained_validation(sources: Mapping[str, Mapping[str, Domain]]) -> list[tuple[str, str]]:
    """Name and description of each source that validates on images that another one trains on, from the opened splits of each source."""
    found = []
    for name, splits in sources.items():
        for other, others in sources.items():
            both = {"train": others.get("train"), "val": splits.get("val")}
            if name != other and (shared := shared_with_training(both)):
                sentence = f"{len(shared)} images of the split 'val' are also among those that the source {other} trains on, such as"
                found.append((name, f"{sentence} {shared[0]}"))
    return found


def require_one_label_space(domains: Mapping[str, DomainDataModule]) -> None:
    """Refuse domains whose train ids stand for different classes."""
    named = {name: domain.label_space.names for name, domain in domains.items()}
    first = next(iter(named), None)
    for name, classes in named.items():
        if first is not None and classes != named[first]:
            raise ConfigurationError(
                f"The domains {first!r} and {name!r} have different class lists ({', '.join(named[first])}; {', '.join(classes)}), but one"
                " network is trained and evaluated on all. Give them the same `classes`."
            )


def identity(domain: DomainDataModule) -> tuple[Any, ...]:
    """What decides which data a domain reads."""
    return domain.reader, domain.root.resolve(), domain.reader_options


def report(problems: dict[str, DataError]) -> str:
    """One message for the problems of all domains; what several share comes once, the hint at the demo at the end."""
    names: dict[str, list[str]] = {}
    for name, error in problems.items():
        names.setdefault(error.report if isinstance(error, MissingDataError) else str(error), []).append(name)
    parts = [f"[{', '.join(group)}] {report}" for report, group in names.items()]
    if any(isinstance(error, MissingDataError) for error in problems.values()):
        parts.append("Where the data sets lie is set by paths.data=DIR (each has its own folder there).")
        parts.append(DEMO)
    return "\n\n".join(parts)


def domain_named(target: str | float, domains: Iterable[str]) -> str:
    """The name of one of the domains; a number stands for the name that a command line reads as it (0016E5)."""
    known = list(domains)
    found = target if isinstance(target, str) else next((name for name in known if _number(name) == target), str(target))
    if found not in known:
        raise ConfigurationError(f"The target {found!r} is none of the domains; choose one of {', '.join(known)}.")
    return found


def _number(name: str) -> float | None:
    try:
        return float(name)
    except ValueError:
        return None
