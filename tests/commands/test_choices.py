"""The names that are looked at before torch is imported are those that the commands know."""

from typing import get_args, get_type_hints

import pytest
import timm

from pin_memory.analysis.plots import PLOTS
from pin_memory.analysis.style import FORMATS as FIGURES
from pin_memory.domains.checks.run import FORMATS as CHECKS
from pin_memory.domains.loading.corruptions import KINDS as KINDS_OF_CORRUPTIONS
from pin_memory.domains.loading.corruptions import SETS
from pin_memory.exporting.convert import FORMATS as CHECKPOINTS
from pin_memory.exporting.run import SUFFIXES
from pin_memory.exporting.text import LISTS
from pin_memory.loggers.workspace import KINDS
from pin_memory.prediction.outputs import Kind, Saving
from pin_memory.utils.choices import CHOICES, CLASS_LISTS, chosen, one_of
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.tables import FORMATS as TABLES
from pin_memory.utils.timm_names import timm_names

KNOWN = {
    "analyze": {"plots": PLOTS, "formats": FIGURES},
    "check": {"format": CHECKS},
    "convert": {"to": CHECKPOINTS},
    "dashboard": {"kind": KINDS},
    "evaluate": {"tables": TABLES, "corruptions": (*KINDS_OF_CORRUPTIONS, *SETS)},
    "export": {"format": SUFFIXES},
    "predict": {"save": get_args(Kind), "ids": get_args(get_type_hints(Saving)["ids"])},
}


def test_the_names_are_those_that_the_commands_know() -> None:
    assert {command: {key: tuple(names) for key, names in settings.items()} for command, settings in KNOWN.items()} == CHOICES
    assert tuple(LISTS) == CLASS_LISTS


def test_the_names_of_timm_are_those_that_it_lists() -> None:
    """But for those that other tests have registered in this process."""
    listed = set(timm.list_models(include_tags=False))
    assert timm_names() == {name for name in listed if timm.models.model_entrypoint(name).__module__.startswith("timm.")}


def test_names_come_in_their_usual_order() -> None:
    assert chosen("plots", ["drift", "gain"], PLOTS) == ["gain", "drift"]
    assert chosen("plots", "gain", PLOTS) == ["gain"]
    assert chosen("plots", None, PLOTS) is None
    assert one_of("format", "onnx", SUFFIXES) == "onnx"
    for single in (["onnx"], None, "x", 5):
        with pytest.raises(ConfigurationError, match=r"format=.*; choose among onnx, torch_export"):
            one_of("format", single, SUFFIXES)
    for value in (["gain", "x"], "x", 5, True):
        with pytest.raises(ConfigurationError, match=r"plots=.*: there is no (x|5|True); choose among gain, similarity"):
            chosen("plots", value, PLOTS)
