"""The name of the distribution, what installs its extras, and other packages that provide `import pin_memory`."""

import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

from pin_memory.utils.installation import DISTRIBUTION, install_hint, installed_version, warn_of_namesakes

ROOT = Path(__file__).parents[2]
BARE = re.compile(r"""(?:pip|uv|pipx) (?:install|add)(?: +-[^ ]+)* +["'`]*pin[-_.]memory\b""")
"""What would install a package of somebody else."""


def tracked_files() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs a git checkout")
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_tracked_file_tells_anybody_to_install_somebody_elses_package() -> None:
    found = [path for path in tracked_files() if BARE.search(path.read_text(encoding="utf-8", errors="ignore"))]
    assert found == []


@pytest.mark.parametrize(
    "form", ["pip {} 'pin_memory[wandb]'", "pip {} pin-memory", 'pip {} -U "pin-memory[export]"', "uv pip {} pin.memory"]
)
def test_the_bare_form_is_recognised(form: str) -> None:
    assert BARE.search(form.format("install"))
    assert not BARE.search(install_hint("wandb"))


def test_every_extra_that_a_hint_names_is_there() -> None:
    """In the code, the settings, the documents and the notebooks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["name"] == DISTRIBUTION
    named: set[str] = set()
    for path in tracked_files():
        if path.suffix in (".py", ".md", ".yaml", ".ipynb", ".toml") and path != Path(__file__):
            text = path.read_text(encoding="utf-8")
            named |= {extra for extras in re.findall(rf"(?:'\.|{DISTRIBUTION})\[([a-z,]+)\]", text) for extra in extras.split(",")}
            named |= set(re.findall(r"install_hint\(['\"](\w+)['\"]\)", text))
    assert {"wandb", "analysis", "export", "sweeps"} <= named
    assert named <= project["optional-dependencies"].keys()


def test_a_source_tree_that_is_not_installed_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pin_memory.utils.installation.DISTRIBUTION", "no-such-distribution")
    assert installed_version() == "0+unknown"


def warnings_with(name: str, record: list[str] | None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said where a distribution of this name and version 9.9 has installed these files."""
    site = folder / "lib" / "python" / "site-packages"
    about = site / f"{name.replace('-', '_')}-9.9.dist-info"
    about.mkdir(parents=True)
    for file in record or ():  # since Python 3.12 those that are not there do not count
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).touch()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
    if record is not None:
        (about / "RECORD").write_text("".join(f"{file},,\n" for file in record))
    monkeypatch.syspath_prepend(site)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_namesakes()
    return [text for warning in caught if " 9.9 " in (text := str(warning.message))]


@pytest.mark.parametrize("name", ["pin-memory", "pin_memory", "Pin.Memory"])
@pytest.mark.parametrize(
    ("record", "what"),
    [
        (["pin_memory/__init__.py", "pin_memory/server.py"], "another package"),
        (["../../../bin/pin-memory", "_pin_memory.pth"], "former name"),
        (["__editable__.pin_memory-9.9.pth"], "editable"),
    ],
)
def test_another_distribution_of_the_name_is_reported(
    name: str, record: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (said,) = warnings_with(name, record, tmp_path, monkeypatch)
    assert what in said
    assert f"pip uninstall {name}" in said
    assert str(tmp_path) in said


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("pin-memory", None),
        ("pin-memory", ["memory_pins/__init__.py"]),
        (DISTRIBUTION, ["pin_memory/__init__.py"]),
        ("torch", ["torch/pin_memory/x.py"]),
    ],
)
def test_what_is_in_nobodys_way_is_not(name: str, record: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warnings_with(name, record, tmp_path, monkeypatch) == []


def test_the_warning_comes_at_import(tmp_path: Path) -> None:
    about = tmp_path / "pin_memory-9.9.dist-info"
    about.mkdir()
    (tmp_path / "pin_memory").mkdir()
    (tmp_path / "pin_memory" / "__init__.py").touch()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: pin-memory\nVersion: 9.9\n")
    (about / "RECORD").write_text("pin_memory/__init__.py,,\n")
    script = f"import sys; sys.path.append({str(tmp_path)!r}); import pin_memory"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pin-memory 9.9" in done.stderr


@pytest.mark.parametrize("names", [["stranger"], ["stranger", "another"], []])
def test_files_of_any_distribution_in_our_folder_are_reported(names: list[str], tmp_path: Path) -> None:
    """Where we are installed from a wheel, next to others."""
    package = tmp_path / "pin_memory"
    (package / "__pycache__").mkdir(parents=True)
    for name in [DISTRIBUTION, "harmless", *names]:
        about = tmp_path / f"{name.replace('-', '_')}-9.9.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
        file = "elsewhere/__init__.py" if name == "harmless" else f"pin_memory/{name}.py"
        (about / "RECORD").write_text(f"{file},,\n")
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_namesakes(package)
    said = [text for warning in caught if " 9.9 " in (text := str(warning.message))]
    assert len(said) == len(names)
    assert all(any(f"pip uninstall {name};" in text for text in said) for name in names)
