"""A command called in this process, which has imported torch already, with everything that Hydra leaves behind put back."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig


def run_in_process(main: Callable[[], None], arguments: list[str], cwd: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `main` in the folder `cwd`."""
    cwd.mkdir(parents=True, exist_ok=True)
    capsys.readouterr()
    with contextlib.chdir(cwd), mock.patch.object(sys, "argv", ["command", *arguments]), mock.patch.dict(os.environ), _hydra_put_back():
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return (code, *capsys.readouterr())


def run_command(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Call `main` with a command line."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    main()


def refusal(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command says when it ends with exit code 2."""
    with pytest.raises(SystemExit) as stop:
        run_command(main, monkeypatch, *arguments)
    assert stop.value.code == 2
    return capsys.readouterr().err


@contextlib.contextmanager
def _hydra_put_back() -> Iterator[None]:
    """Put what Hydra has set and the loggers back as they were."""
    config, root = HydraConfig.instance().cfg, logging.getLogger()
    handlers, level, levels = list(root.handlers), root.level, _levels()
    try:
        yield
    finally:
        GlobalHydra.instance().clear()
        HydraConfig.instance().cfg = config
        for handler in root.handlers:
            if handler not in handlers:
                handler.close()
        root.handlers[:], root.level = handlers, level
        for name in _levels():
            logging.getLogger(name).setLevel(levels.get(name, logging.NOTSET))


def _levels() -> dict[str, int]:
    """The level of each logger; the configuration of a command silences some."""
    return {name: logger.level for name, logger in logging.root.manager.loggerDict.items() if isinstance(logger, logging.Logger)}
