"""Modules of the user's own: found where the command is typed, and their errors shown with their lines."""

import importlib.util
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.utils import instantiate

from pin_memory.cli import main
from pin_memory.cli.errors import explain
from pin_memory.runs.build import rebuilt
from pin_memory.utils.errors import DataError

Say = Callable[..., str]

OWN = """
class Method:
    def __init__(self, size=1):
        if size < 1:
            raise KeyError("size")
        self.size = 1 / (2 - size)

    def training_step(self):
        return {}["batch"]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of the user's in the working folder, under a name that no other test has imported."""
    path = tmp_path / f"own_{tmp_path.name}.py"
    path.write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return path


@pytest.fixture
def say(own: Path) -> Say:
    """The message for a `_target_` in that module."""
    sys.path.insert(0, str(own.parent))

    def run(name: str, **options: object) -> str:
        with pytest.raises(Exception) as caught:  # noqa: PT011
            instantiate({"method": {"_target_": f"{own.stem}.{name}", **options}})
        mistake = explain(caught.value)
        assert mistake is not None
        assert mistake.exit_code == 2
        return mistake.message

    return run


@pytest.mark.parametrize("safe_path", [False, True])
def test_the_console_command_finds_modules_where_it_is_typed(own: Path, monkeypatch: pytest.MonkeyPatch, safe_path: bool) -> None:
    """Unless Python was told not to look there."""
    with monkeypatch.context() as started:
        started.setattr(runpy, "run_module", lambda *_, **__: None)
        started.setattr(sys, "argv", ["pin-memory", "train"])
        started.setattr(sys, "flags", SimpleNamespace(safe_path=safe_path, verbose=0))
        main()
    assert (importlib.util.find_spec(own.stem) is None) == safe_path


def test_an_error_in_the_file_names_its_line(own: Path, say: Say) -> None:
    assert say("Method", size=0).splitlines()[:2] == [
        f"{own}, line 5, in __init__: KeyError: 'size'",
        '    raise KeyError("size")',
    ]
    assert say("Method", size=2).startswith(f"{own}, line 6, in __init__: ZeroDivisionError: division by zero\n")


def test_an_error_while_the_file_is_imported(own: Path, say: Say) -> None:
    own.write_text("import nothing_is_called_so\n")
    assert say("Method").startswith(f"{own}, line 1, in <module>: ModuleNotFoundError: No module named 'nothing_is_called_so'\n")


def test_an_error_in_its_grammar(own: Path, say: Say) -> None:
    own.write_text("x = 1\ndef f(:\n")
    assert say("Method").startswith(f"{own}, line 2: SyntaxError: invalid syntax\n    def f(:\n")


def test_a_name_that_the_file_does_not_have(own: Path, say: Say) -> None:
    assert f"{own} has no Methode. It has Method." in say("Methode")


def test_a_module_that_is_not_there(own: Path) -> None:
    with pytest.raises(Exception, match="Error locating") as caught:
        instantiate({"_target_": "own_that_is_nowhere.Method"})
    mistake = explain(caught.value)
    assert mistake is not None
    assert str(own.parent) in mistake.message
    assert "No module named 'own_that_is_nowhere'" in mistake.message


def test_an_error_in_a_training_step_keeps_its_notes(own: Path, say: Say) -> None:
    sys.path.insert(0, str(own.parent))
    with pytest.raises(KeyError) as caught:
        importlib.import_module(own.stem).Method().training_step()
    caught.value.add_note("In iteration 1")
    mistake = explain(caught.value)
    assert mistake is not None
    assert mistake.message.splitlines()[:3] == [
        f"{own}, line 9, in training_step: KeyError: 'batch'",
        '    return {}["batch"]',
        "In iteration 1",
    ]


def test_an_error_that_a_loaders_worker_sent_as_text(own: Path) -> None:
    text = (
        "Caught KeyError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        f'  File "{own}", line 9, in training_step\n    return {{}}["batch"]\n'
        f"  File \"{pytest.__file__}\", line 3, in get\n    raise\nKeyError: 'batch'\n"
    )
    mistake = explain(KeyError(_Verbatim(text)))
    assert mistake is not None
    assert mistake.message.startswith(
        f"{own}, line 9, in training_step: KeyError: 'batch'\n    return {{}}[\"batch\"]\n".replace("{{}}", "{}")
    )


class _Verbatim(str):
    """As torch sends the text of a KeyError."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def test_what_a_file_cannot_be_rebuilt_for_keeps_the_line(own: Path, say: Say) -> None:
    sys.path.insert(0, str(own.parent))
    with pytest.raises(Exception, match="cannot be built") as caught:
        rebuilt(lambda: instantiate({"_target_": f"{own.stem}.Method", "size": 0}), Path("last.ckpt"))
    mistake = explain(caught.value)
    assert mistake is not None
    assert f"\n{own}, line 5, in __init__: KeyError: 'size'" in mistake.message


def test_a_mistake_that_the_library_finds_is_told_in_its_own_words(own: Path) -> None:
    assert explain(DataError("no label")) == ("no label", 2)
    assert explain(KeyError("of the library's")) is None
