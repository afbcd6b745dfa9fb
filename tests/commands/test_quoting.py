"""Paths with characters that Hydra's grammar reserves: the message's own advice works, and home folders are found."""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import pin_memory.analyze
import pin_memory.check
import pin_memory.compare
import pin_memory.convert
import pin_memory.evaluate
import pin_memory.export
import pin_memory.predict
import pin_memory.report
import pin_memory.stand_in
import pin_memory.train
from pin_memory.cli.quoting import escaped, expand_home, literal
from pin_memory.utils.config import quoted
from tests.helpers.in_process import run_in_process

NAMES = (
    "a=b", "data (1)", "[1] x", "x[1]", "x{1}", "it's", 'so-called "data"', "a#b", "Bücher", "データ", "a;b", "a&b", "new!", "a^b", "a<b>",
    "(a), b's \"c\" = {d}", "back\\slash (1)", "ends (1)\\", "x: (y)", "100% (a)", "$a (b)", " leading (1)", "trailing (1) ", "a'b\"c",
)  # fmt: skip
"""Names that Hydra cannot parse as they stand."""


def advised(message: str) -> str:
    """The argument of a message's advice, as a shell hands it on."""
    (argument,) = shlex.split(re.search(r"reach Hydra: (.*)", message)[1])  # type: ignore[index]
    return argument


def parsed(argument: str) -> object:
    return OmegaConf.create({"value": OverridesParser.create().parse_override(argument).value()}).value


@pytest.mark.parametrize("name", NAMES)
def test_the_advice_gives_the_value_as_it_stands(name: str) -> None:
    for key in ("paths.data", "+data.sources.mine.root", "hydra.run.dir"):
        message = literal(f"{key}=/x/{name}")
        assert message is not None
        assert message.startswith(f"The value of {key} has")
        assert parsed(advised(message)) == f"/x/{name}"


@pytest.mark.parametrize("name", [*NAMES, "plain", "a,b", "null", "1.10", "${x}", "a${b", "\\", "\\\\", "'", "~"])
def test_quoted_values_are_taken_as_they_stand(name: str) -> None:
    assert parsed(f"key={quoted(name)}") == name


def test_lists_words_and_references() -> None:
    message = literal("checkpoint=[runs/a (1),runs/b's]")
    assert message
    (of_list,) = shlex.split(re.search(r"reach Hydra: (.*) for a list", message)[1])  # type: ignore[index]
    assert parsed(of_list) == ["runs/a (1)", "runs/b's"]
    message = literal("photos", "input=my")
    assert message
    assert parsed(shlex.split(message.rpartition("together: ")[2])[0]) == "my photos"
    assert literal("photos", "--multirun") is None
    message = escaped(["seed=1", "paths.data=/x/${y}"])
    assert message
    assert parsed(shlex.split(message.rpartition("reference: ")[2])[0]) == "/x/${y}"
    assert escaped(["seed=1"]) is None


COMMANDS: dict[str, tuple[Callable[[], None], list[str]]] = {
    "compare": (pin_memory.compare.main, ["runs="]),
    "report": (pin_memory.report.main, ["run="]),
    "predict": (pin_memory.predict.main, ["checkpoint=x.ckpt", "output=out", "input="]),
    "check": (pin_memory.check.main, ["experiment=multi_source_gs", "paths.data="]),
    "train": (pin_memory.train.main, ["experiment=multi_source_gs", "paths.data="]),
    "resume": (pin_memory.train.main, ["experiment=multi_source_gs", "resume="]),
    "evaluate": (pin_memory.evaluate.main, ["checkpoint="]),
    "analyze": (pin_memory.analyze.main, ["checkpoint="]),
    "export": (pin_memory.export.main, ["format=onnx", "output=x.onnx", "checkpoint="]),
    "convert": (pin_memory.convert.main, ["output=x.ckpt", "source="]),
    "pretrained": (pin_memory.train.main, ["experiment=multi_source_gs", "network.backbone.pretrained="]),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in ("compare", "report") else pytest.mark.slow) for name in COMMANDS])
def test_each_command_says_what_to_type(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For the setting that it was typed for, without the text of Hydra's parser; typed so, the command looks for that very path."""
    main, arguments = COMMANDS[name]
    odd = "(a), b's = [c] ü"
    code, _, said = run_in_process(main, [*arguments[:-1], f"{arguments[-1]}{odd}"], tmp_path, capsys)
    assert code == 2
    assert f"The value of {arguments[-1].rstrip('=')} has to be in quotes" in said
    assert not re.search(r"mismatched|token recognition|hydra\.cc|Traceback", said)
    code, out, said = run_in_process(main, [*arguments[:-1], advised(said)], tmp_path, capsys)
    assert code in (1, 2)
    if name not in ("pretrained", "predict"):  # the data, the checkpoint are missed first
        assert odd in said + out


def test_a_comma_is_no_sweep_unless_one_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, said = run_in_process(pin_memory.report.main, ["run=/x/a,b"], tmp_path, capsys)
    assert parsed(advised(said)) == "/x/a,b"
    assert "A list is 'run=[/x/a,b]';" in said
    assert "add -m" in said


def test_blanks_and_references_of_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, _, said = run_in_process(pin_memory.report.main, ["run=my", "photos"], tmp_path, capsys)
    assert "`photos` is no setting" in said
    assert "'my photos'" in shlex.split(said.rpartition("together: ")[2].strip())[0]
    _, _, said = run_in_process(pin_memory.report.main, ["run=/x/${y}"], tmp_path, capsys)
    assert parsed(shlex.split(said.rpartition("reference: ")[2].strip())[0]) == "/x/${y}"


HOME = (
    "paths.data",
    "checkpoint",
    "input",
    "output",
    "network.backbone.pretrained",
    "root",
    "runs",
    "hydra.run.dir",
    "+data.sources.x.root",
)


@pytest.mark.parametrize("home", ["/home/me", "/home/it's (me)"])
def test_home_folders_are_found_for_every_setting(home: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed bare or in quotes, alone, with a path, or of a user by name."""
    monkeypatch.setenv("HOME", home)
    for key in HOME:
        for value in ("~/x", "'~/x'", '"~/x"'):
            (argument,) = expand_home([f"{key}={value}"])
            assert argument.startswith(f"{key}=")
            assert parsed(argument) == f"{home}/x"
    assert parsed(expand_home(["paths.data=~"])[0]) == home
    assert parsed(expand_home(["paths.data=~root/x"])[0]) == os.path.expanduser("~root/x")  # noqa: PTH111
    assert expand_home(["--config-dir=~/mine"]) == [f"--config-dir={home}/mine"]
    unchanged = ["~network.backbone", "~x=1", "name=a~b", "paths.data=~nobody-of-this-name/x", "-m"]
    assert expand_home(unchanged) == unchanged


def test_home_folders_of_lists_and_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PIN_MEMORY_DATA", "~/data")
    assert parsed(expand_home(["checkpoint=[~/a,runs/b,~/c]"])[0]) == ["/home/me/a", "runs/b", "/home/me/c"]
    assert os.environ["PIN_MEMORY_DATA"] == "/home/me/data"


def test_a_run_folder_below_home(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of the name `~` is made."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    arguments = ["experiment=demo", "network.backbone.freeze=norm", "hydra.run.dir=~/run"]
    assert run_in_process(pin_memory.train.main, arguments, tmp_path / "cwd", capsys)[0] == 2
    assert (tmp_path / "home" / "run" / "log.txt").is_file()
    assert not list((tmp_path / "cwd").iterdir())
