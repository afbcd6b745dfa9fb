"""What makes two jobs one run: the settings that decide the result, resolved, however and under which name they were given."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pin_memory.utils.config import plain

_DECIDING = ("method", "data", "trainer", "selection", "seed", "test", "floors")  # what training reads; the rest is read through these
_ONE_DEVICE = ("trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm")
"""What a job of a sweep has one of, whatever it is called."""
_TESTED = ("test", "floors", "data.targets", "method.protocol", "loading.max_test_images")
"""Settings of what is measured on the targets, after everything is trained and chosen."""
_OF_TRAINING = ("augmentation", "loading", "meta_test_augmentation")
"""The settings below `data` that are no choice of domains."""


class Identity(NamedTuple):
    """The settings of a job in three parts, each as text that is equal for equal settings."""

    setting: str  # what a sweep chooses between
    place: str  # what it averages over: seeds and domains
    tested: str  # how the targets are evaluated


def identity(settings: Mapping[str, Any], overrides: Sequence[str]) -> Identity:
    """The identity of a job by its settings on record, or by what was typed where they say nothing of a method and data."""
    if not {"method", "data"} <= settings.keys():
        rest = [text for text in overrides if not text.startswith("seed=")]
        seeds = [text for text in overrides if text.startswith("seed=")]
        return Identity(_text([{key: value for key, value in settings.items() if key != "seed"}, rest]), _text(seeds), "")
    from pin_memory.runs.folder import NO_EFFECT  # which most sweeps never need

    setting: dict[str, set[str]] = {}
    place: dict[str, set[str]] = {}
    tested: dict[str, set[str]] = {}
    for key, value in _resolved(settings).items():
        if not _is_among(key, (*NO_EFFECT, *_ONE_DEVICE)) and not _follows(key, value, settings.get("seed")):
            part = tested if _is_among(key, _TESTED) else place if _is_place(key) else setting
            part.setdefault(_without_domain(key) if part is setting else key, set()).add(_text(value))
    return Identity(*(_text({key: sorted(values) for key, values in part.items()}) for part in (setting, place, tested)))


def is_averaged(key: str, settings: Mapping[str, Any]) -> bool | None:
    """Whether another value of a setting would leave what a sweep chooses between as it is; None for one that is not on record."""
    key = key.lstrip("+~").rpartition("@")[2]
    cfg = OmegaConf.create(dict(settings))
    if OmegaConf.select(cfg, key, throw_on_resolution_failure=False) is None:
        return True if key == "seed" else None
    OmegaConf.update(cfg, key, "another", force_add=True)
    return identity(plain(cfg), ()).setting == identity(settings, ()).setting


def value_of(key: str, settings: Mapping[str, Any]) -> str | None:
    """The value of a setting as text; None for a group, and where there is none."""
    with_places = OmegaConf.create(dict(settings))
    try:
        value = OmegaConf.select(with_places, key)
    except OmegaConfBaseException:
        return None
    return str(value) if isinstance(value, str | int | float) else None


def _resolved(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The deciding settings by dotted keys, references followed."""
    from pin_memory.runs.folder import dotted  # which most sweeps never need

    cfg = OmegaConf.create(dict(settings))
    for name in ("run", "output"):  # which are not on record, and decide nothing
        OmegaConf.update(cfg, f"paths.{name}", name, force_add=True)
    found: dict[str, Any] = {}
    for part in (part for part in _DECIDING if part in cfg):
        try:
            value = _followed(cfg, part)
        except OmegaConfBaseException:  # of a resolver that only the run itself knows
            value = settings[part]
        found |= dotted({part: value})
    return {key: str(Path(value).resolve()) if key.endswith(".root") and isinstance(value, str) else value for key, value in found.items()}


def _followed(cfg: Any, part: str) -> Any:
    """A part of the settings with its references followed."""
    value = cfg[part]
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _follows(key: str, value: Any, seed: Any) -> bool:
    """Whether a setting says nothing of its own: the run's seed, the method's split at the data, what only targets or sources read."""
    parts = key.split(".")
    if parts[:2] == ["data", "targets"] and any(part in _OF_TRAINING for part in parts):
        return parts[-1] != "max_test_images"
    if parts[:2] == ["data", "split"] or (parts[:2] == ["data", "sources"] and parts[-1] == "max_test_images"):
        return True
    return len(parts) > 1 and parts[-1] == "seed" and value == seed


def _is_place(key: str) -> bool:
    """Whether a setting is a seed, or says which domains are trained on."""
    parts = key.split(".")
    if parts[0] != "data":
        return parts[-1].endswith("seed")
    return parts[-1] == "seed" or not any(part in _OF_TRAINING for part in parts)


def _without_domain(key: str) -> str:
    """`data.sources.gtav.loading.batch_size` without the domain, so that a setting of all domains counts once."""
    parts = key.split(".")
    return ".".join(["data", *parts[3:]]) if parts[:2] in (["data", "sources"], ["data", "domains"]) else key


def _is_among(key: str, names: Iterable[str]) -> bool:
    """Whether a dotted key is, or lies below, one of these names, at any depth."""
    return any(f".{name}." in f".{key}." if "." in name else f"{key}.".startswith(f"{name}.") for name in names)


def _text(content: Any) -> str:
    return json.dumps(content, sort_keys=True, default=str)
