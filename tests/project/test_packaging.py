"""The wheel, installed where the checkout is not: it must bring its configuration along."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow

COMPOSE = """
import sys
from hydra import compose, initialize_config_dir
from pin_memory.cli.command import config_directory
with initialize_config_dir(str(config_directory()), version_base="1.3"):
    for experiment in sys.argv[1:]:
        compose("train", overrides=[f"experiment={experiment}"], return_hydra_config=True)
        print(experiment)
"""


def check_output(command: list[str | Path], cwd: Path) -> str:
    """Run a command as someone would who knows nothing of the checkout."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network."""
    for tool in ("build", "hatchling"):
        pytest.importorskip(tool, reason=f"building the wheel needs {tool}")
    out = tmp_path_factory.mktemp("wheel")
    check_output([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT], cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel; the dependencies are borrowed from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    # A plain entry: the .pth files over there, among them the one of the checkout's editable install, are not followed.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    check_output(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", wheel], cwd=folder
    )
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder that has nothing to do with the project."""
    return tmp_path


def test_the_wheel_ships_every_configuration_file_and_the_licence(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"pin_memory/conf/{path.relative_to(ROOT / 'conf').as_posix()}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(wanted) > 20
    assert wanted <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.startswith("tests") or "__pycache__" in name]


def test_the_installed_package_is_the_wheels(installed: Path, elsewhere: Path) -> None:
    script = "import pin_memory, pin_memory.cli.command as c; print(pin_memory.__file__); print(c.config_directory())"
    for line in check_output([installed / "python", "-c", script], cwd=elsewhere).splitlines():
        assert Path(line).is_relative_to(installed.parent)


def test_nothing_is_in_the_way_of_the_wheel(installed: Path, elsewhere: Path) -> None:
    """It finds its own files alone, and says nothing; a file of another package would be named."""
    check_output([installed / "python", "-W", "error::UserWarning", "-c", "import pin_memory"], cwd=elsewhere)
    version = check_output([installed / "python", "-c", "import pin_memory; print(pin_memory.__version__)"], cwd=elsewhere)
    assert version.strip() == tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def test_the_console_command_lists_the_commands(installed: Path, elsewhere: Path) -> None:
    text = check_output([installed / "pin-memory", "--help"], cwd=elsewhere)
    for name in ("train", "evaluate", "predict", "check", "convert", "stand_in"):
        assert f"  {name} " in text


@pytest.mark.parametrize("start", [["python", "-m", "pin_memory.train"], ["python", "-m", "pin_memory", "train"], ["pin-memory", "train"]])
def test_help_of_a_command(installed: Path, elsewhere: Path, start: list[str]) -> None:
    text = check_output([installed / start[0], *start[1:], "--help"], cwd=elsewhere)
    assert "\nexperiment\n" in text
    assert "  multi_source_gsi " in text
    assert not list(elsewhere.iterdir())


def test_every_experiment_composes(installed: Path, elsewhere: Path) -> None:
    experiments = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml") if not path.stem.startswith("_"))
    assert "demo" in experiments
    assert check_output([installed / "python", "-c", COMPOSE, *experiments], cwd=elsewhere).split() == experiments
