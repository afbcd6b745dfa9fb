"""Rules of values that are read from the source are those of the imported classes, and no configuration of ours breaks one."""

import importlib
import inspect
import typing
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from pin_memory.cli.arguments import annotations
from pin_memory.cli.early_values import _objects, _rules, refuse_wrong_values
from pin_memory.cli.sources import has_decorator
from pin_memory.utils.config import config_directory, plain
from pin_memory.utils.errors import ConfigurationError

EXPERIMENTS = sorted(path.stem for path in (config_directory() / "experiment").glob("[a-z]*.yaml"))
VARIANTS = sorted(path.stem for path in (config_directory() / "variant").glob("[a-z]*.yaml"))
GROUPS = ["+adapter=lora", "+alignment=text", "+memory_start=blend", "protocol=sliding_768"]


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        return compose("train", list(overrides))


@pytest.mark.parametrize("given", [*(f"experiment={name}" for name in EXPERIMENTS), *(f"variant={name}" for name in VARIANTS)])
def test_no_configuration_of_ours_is_refused(given: str) -> None:
    refuse_wrong_values(composed(*(["experiment=demo"] if given.startswith("variant") else []), given))


def targets() -> set[str]:
    """The classes of ours that some configurations name."""
    given: list[list[str]] = [["experiment=demo"], ["experiment=few_shot_demo"], *(["experiment=demo", one] for one in GROUPS)]
    given += [["experiment=demo", f"variant={name}"] for name in VARIANTS]
    found = {str(node["_target_"]) for one in given for _, node in _objects(plain(composed(*one)))}
    return {target for target in found if target.startswith("pin_memory.") and list(_rules(target))}


def test_rules_are_those_of_the_imported_classes() -> None:
    compared = 0
    for module, node in {(module, node) for target in targets() for module, node, _ in annotations(target)}:
        if has_decorator(node, "validated"):
            made = getattr(importlib.import_module(module), node.name)
            hints = typing.get_type_hints(made if is_dataclass(made) else inspect.unwrap(made.__init__), include_extras=True)
            _, rules = next(_rules(f"{module}.{node.name}"))
            assert {name: repr(rule) for name, rule in rules.items()} == {name: repr(hints[name]) for name in rules}, node.name
            compared += len(rules)
    assert compared > 100


REFUSED = {
    "augmentation.crop_size=0": "augmentation.crop_size must be greater than 0",
    "loading.sampling=rare": "loading.sampling must be 'uniform' or 'rare_class', found 'rare'",
    "schedule.power=-1": "schedule.power must be greater than or equal to 0",
    "network.dropout=2": "network.dropout must be less than or equal to 1, found 2",
    "test_statistics.share=-1": "test_statistics.share must be greater than or equal to 0, found -1",
}


@pytest.mark.parametrize(("given", "message"), REFUSED.items(), ids=REFUSED)
def test_values_out_of_range_are_refused(given: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        refuse_wrong_values(composed("experiment=demo", given))
    assert message in str(refusal.value)


def test_references_and_classes_of_the_users_are_left_to_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_parts").mkdir()  # without __init__.py
    (tmp_path / "own_parts" / "schedule.py").write_text("class Own:\n    def __init__(self, power: int) -> None: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    cfg: Any = composed("experiment=demo", "network.dropout=${optimizer.lr}", "+schedule.mine=1")
    cfg.schedule = {"_target_": "own_parts.schedule.Own", "power": "many"}
    refuse_wrong_values(cfg)
