"""Each test runs a small command of its own in a forked process, so that it says nothing about the real commands."""

import logging
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pin_memory.utils.config import config_directory

Run = Callable[..., subprocess.CompletedProcess[str]]

TOY = '''
"""A toy."""
import logging, os, signal, sys
from pathlib import Path
import pin_memory.cli.command as commands
from pin_memory.utils.errors import DataError

commands.config_directory = lambda: Path(__file__).parent / "conf"

class Size:
    def __init__(self, size, inner=False):
        if inner:
            raise KeyError("a defect")
        if size < 1:
            raise ValueError("size must be positive")

class Broken:
    def __getitem__(self, index):
        raise DataError("expected a label\\nfound none")
    def __len__(self):
        return 2

def make(size, fail=None):
    if fail == "user":
        raise DataError("no data in /nowhere: get some")
    if fail == "defect":
        raise KeyError("a defect inside")

@commands.command("toy")
def main(cfg):
    from hydra.utils import instantiate
    print("run folder", cfg.paths.run)
    logging.getLogger("toy").info("hello")
    match cfg.kind:
        case "user": raise DataError("no data in /nowhere: get some")
        case "defect": raise ValueError("a defect")
        case "made": instantiate(cfg.made)
        case "unreadable":
            os.access = lambda path, mode: False
            raise PermissionError(13, "Permission denied", str(Path(__file__).parent / "images" / "a.png"))
        case "missing": open("/nowhere/file")
        case "unset": print(cfg.checkpoint)
        case "full": print("x" * 100000, file=open("/dev/full", "w"))
        case "saved":
            import torch
            torch.save({"weights": torch.zeros(100000)}, "/dev/full")
        case "worker":
            from torch.utils.data import DataLoader
            list(DataLoader(Broken(), num_workers=1))
        case "interrupt": raise KeyboardInterrupt
        case "lightning_interrupt":
            try: raise KeyboardInterrupt
            except KeyboardInterrupt: sys.exit(1)
        case "environment": print("full error:", os.environ.get("HYDRA_FULL_ERROR"))

if __name__ == "__main__":
    main()
'''

SIZE = ["made._target_=__main__.Size"]
CONFIG = """
defaults:
  - paths: default
  - choice: first
  - hydra: train
  - _self_
name: toy
kind: ok
checkpoint: none
trainer: {max_steps: 3}
made: {_target_: __main__.make, size: 1}
"""

NAMES = ["train", "evaluate", "compare", "predict", "analyze", "report", "dashboard", "export", "check", "convert", "text", "stand_in"]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """The folder of a command `toy.py` with its configuration."""
    folder = tmp_path / "toy"
    (folder / "conf" / "choice").mkdir(parents=True)
    for group in ("hydra", "paths"):
        shutil.copytree(config_directory() / group, folder / "conf" / group)
    (folder / "toy.py").write_text(TOY)
    (folder / "conf" / "toy.yaml").write_text(CONFIG)
    for option in ("first", "second"):
        (folder / "conf" / "choice" / f"{option}.yaml").write_text(f"value: {option}\n")
    return folder


@pytest.fixture
def run(toy: Path, tmp_path: Path) -> Run:
    """A function that runs the toy with arguments in `tmp_path / "cwd"`; forked, since importing Hydra anew takes longer than a test."""
    cwd = tmp_path / "cwd"
    cwd.mkdir()

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        process = multiprocessing.get_context("fork").Process(target=_as_main, args=(toy / "toy.py", arguments, variables, cwd))
        process.start()
        process.join(120)
        said = [(tmp_path / f"{number}.txt").read_text() for number in (1, 2)]
        return subprocess.CompletedProcess(arguments, process.exitcode or 0, *said)

    return run


def _as_main(path: Path, arguments: tuple[str, ...], variables: dict[str, str], cwd: Path) -> None:
    """Run a file as Python does, with standard output and error in `1.txt` and `2.txt` next to `cwd`."""
    for number in (1, 2):
        os.dup2(os.open(cwd.with_name(f"{number}.txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    logging.getLogger().handlers.clear()
    for name in [name for name in os.environ if name.startswith(("PIN_MEMORY_", "HYDRA_"))]:
        del os.environ[name]
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def assert_reported(done: subprocess.CompletedProcess[str], *parts: str, exit_code: int = 2) -> None:
    """The command ended with a message that has these parts, and without a traceback."""
    assert done.returncode == exit_code, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("Error: ") or exit_code != 2
    for part in parts:
        assert part in done.stderr


def test_a_run_gets_a_folder_with_its_settings_and_its_log(run: Run, tmp_path: Path) -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "cwd" / "runs" / "toy").iterdir()
    assert done.stdout.splitlines() == [f"run folder {folder}", "hello"]
    assert (folder / "log.txt").read_text().endswith("INFO toy: hello\n")
    assert (folder / ".hydra" / "config.yaml").is_file()
    assert [path.name for path in (tmp_path / "cwd").iterdir()] == ["runs"]


def test_the_places_follow_the_environment(run: Run, tmp_path: Path) -> None:
    assert run(PIN_MEMORY_RUNS=str(tmp_path / "elsewhere")).returncode == 0
    assert len(list((tmp_path / "elsewhere" / "toy").iterdir())) == 1


def test_help_shows_choices_settings_and_three_examples(run: Run) -> None:
    done = run("--help")
    assert done.returncode == 0, done.stderr
    assert "choice\n  * first\n    second" in done.stdout
    assert "max_steps: 3" in done.stdout
    assert sum(line.startswith("pin-memory train") for line in done.stdout.splitlines()) >= 3


def test_a_command_without_a_folder_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    done = run("hydra=predict")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "cwd").iterdir())


def test_a_users_error_is_one_message_on_the_screen_and_in_the_log(run: Run, tmp_path: Path) -> None:
    done = run("kind=user")
    assert_reported(done)
    assert done.stderr == "Error: no data in /nowhere: get some\n"
    assert "no data" not in done.stdout
    log = log_of(tmp_path)
    assert log.count("no data in /nowhere: get some\n") == 1
    assert log.endswith("DataError: no data in /nowhere: get some\n")
    assert "What ended the command:\nTraceback (most recent call last):\n" in log


def log_of(tmp_path: Path) -> str:
    """The log of the only run."""
    (log,) = (tmp_path / "cwd" / "runs" / "toy").glob("*/log.txt")
    return log.read_text()


@pytest.mark.parametrize("environment", [{}, {"HYDRA_FULL_ERROR": "1"}])
def test_the_log_has_the_traceback_of_a_defect_once(run: Run, tmp_path: Path, environment: dict[str, str]) -> None:
    assert run("kind=defect", **environment).returncode == 1
    log = log_of(tmp_path)
    assert log.count("Traceback (most recent call last)") == log.count("ValueError: a defect") == 1


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["choice=secnd"], ["Could not find 'choice/secnd'", "\tfirst\n\tsecond\n"]),
        (["max_steps=5"], ["no setting max_steps;", "trainer.max_steps"]),
        (["trainer.max_step=5"], ["no setting trainer.max_step;", "trainer.max_steps"]),
        (["kind"], ["Error parsing override 'kind'"]),
        (["--config-dir", "nowhere"], ["nowhere' not found"]),
        (["checkpoint=???"], ["`checkpoint` has no value", "checkpoint=..."]),
        (["name=${nothing}"], ["nothing"]),
        (["kind=made", "+made.fail=user"], ["no data in /nowhere: get some"]),
        (["kind=made", "+made.colour=red"], ["no setting made.colour;", "made has fail, size"]),
        (["kind=made", "made._target_=__main__.nothing"], ["Error locating target '__main__.nothing'"]),
        (["kind=made", *SIZE, "made.size=abc"], ["'__main__.Size'", "'<' not supported", "full_key: made"]),
        (["kind=made", *SIZE, "made.size=0"], ["'__main__.Size'", "size must be positive", "full_key: made"]),
        (["kind=made", *SIZE, "~made.size"], ["'__main__.Size'", "missing 1 required positional argument: 'size'", "full_key: made"]),
        (["kind=unreadable"], ["Cannot read", "you have no permission to read", "paths.data=DIR"]),
        (["paths.output=/proc/runs"], ["/proc/runs", "no folder can be made there", "paths.output=DIR"]),
        (["kind=full"], ["the disk is full", "paths.output=DIR"]),
        (["kind=saved"], ["the disk is full", "paths.output=DIR"]),
        (["paths.output=/dev/null/runs"], ["/dev/null/runs", "is a file", "paths.output=DIR"]),
    ],
)
def test_mistakes_are_reported(run: Run, arguments: list[str], parts: list[str]) -> None:
    assert_reported(run(*arguments), *parts)


def test_an_error_in_a_loaders_worker_is_reported_without_the_workers_traceback(run: Run) -> None:
    done = run("kind=worker")
    assert_reported(done)
    assert done.stderr.endswith("Error: expected a label\nfound none\n")


def test_a_file_in_the_place_of_the_run_folder(run: Run, toy: Path) -> None:
    assert_reported(run(f"hydra.run.dir={toy / 'toy.py'}"), str(toy / "toy.py"), "in the way")


def test_a_full_disk_ends_the_log_file_not_the_run(run: Run) -> None:
    done = run("hydra.job_logging.handlers.file.filename=/dev/full")
    assert done.returncode == 0
    assert "hello" in done.stdout
    assert done.stderr == "/dev/full cannot be written (No space left on device); continuing without it.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["kind=defect"],
        ["kind=made", "+made.fail=defect"],
        ["kind=made", *SIZE, "+made.inner=true"],
        ["kind=missing"],
    ],
)
def test_a_defect_keeps_its_traceback(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "a defect" in done.stderr or "/nowhere/file" in done.stderr


def test_full_error_shows_the_traceback_of_a_mistake_too(run: Run) -> None:
    done = run("kind=user", HYDRA_FULL_ERROR="1")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("kind", ["interrupt", "lightning_interrupt"])
def test_ctrl_c(run: Run, kind: str) -> None:
    assert_reported(run(f"kind={kind}"), "Stopped by Ctrl-C.", exit_code=130)


def test_the_task_sees_the_environment_as_it_was(run: Run) -> None:
    assert "full error: None" in run("kind=environment").stdout


@pytest.mark.slow
def test_a_sweep_continues_after_a_mistake_and_after_a_defect(run: Run, tmp_path: Path) -> None:
    done = run("-m", "kind=user,defect,ok")
    assert done.returncode == 2
    assert "job #0 of the sweep: no data in /nowhere: get some" in done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "ValueError: a defect" in done.stderr
    (sweep,) = (tmp_path / "cwd" / "runs" / "toy" / "multirun").iterdir()
    assert "hello" in (sweep / "2" / "log.txt").read_text()


def test_own_configurations_can_be_added(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "choice").mkdir(parents=True)
    (tmp_path / "mine" / "choice" / "third.yaml").write_text("value: mine\n")
    done = run("--config-dir", str(tmp_path / "mine"), "choice=third", "--cfg", "job")
    assert "value: mine" in done.stdout


def pin_memory(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "pin_memory", *arguments], capture_output=True, text=True, timeout=60)


def test_the_overview_names_every_command_in_a_line() -> None:
    done = pin_memory()
    assert done.returncode == 0
    lines = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line.startswith("  ")}
    assert list(lines) == NAMES
    assert all(lines.values()), "a command without a summary"


def test_an_unknown_command_shows_the_choices() -> None:
    done = pin_memory("trian")
    assert_reported(done, "'trian'", "Did you mean train?", ", ".join(NAMES))


def test_version() -> None:
    assert pin_memory("--version").stdout.startswith("pin-memory ")


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "train" else pytest.mark.slow) for name in NAMES])
def test_every_command_has_help_with_three_examples_and_says_it_without_torch(name: str, tmp_path: Path) -> None:
    spy = "import sys, runpy, atexit; sys.argv = ['x', '--help']; atexit.register(lambda: print('torch' in sys.modules)); "
    spy += f"runpy.run_module('pin_memory.{name}', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", spy], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "== Choices" in done.stdout
    assert sum(line.startswith(f"pin-memory {name} ") or line == f"pin-memory {name}" for line in done.stdout.splitlines()) >= 3
    assert done.stdout.endswith("False\n"), "--help imports torch, which takes seconds"
    assert not list(tmp_path.iterdir())
