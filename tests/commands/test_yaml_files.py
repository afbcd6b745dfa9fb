"""YAML files of `--config-dir` as editors save them: read right, or refused by name; never past their package line in silence."""

import codecs
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from PIL import Image

from pin_memory.check import main
from pin_memory.cli import yaml_files
from pin_memory.cli.yaml_files import FileConfigSource
from pin_memory.utils.errors import ConfigurationError
from tests.helpers.in_process import run_in_process

EXPERIMENT = """# @package _global_
defaults:
  - /domain@data.sources.mine: folder
data:
  sources:
    mine:
      root: ROOT
      ids: {0: ignore, 1: road, 2: car}
"""
WITHOUT = EXPERIMENT.partition("\n")[2]

READ: dict[str, Callable[[str], bytes]] = {
    "as it is": str.encode,
    "a mark": lambda text: codecs.BOM_UTF8 + text.encode(),
    "UTF-16, little": lambda text: text.encode("utf-16"),
    "UTF-16, big": lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "Windows": lambda text: codecs.BOM_UTF8 + text.replace("\n", "\r\n").encode(),
    "CR alone": lambda text: text.replace("\n", "\r").encode(),
    "blanks at the ends": lambda text: text.replace("\n", " \t\n").encode(),
    "a web page's blanks at the ends": lambda text: text.replace("\n", "\u00a0\u200b\n").encode(),
    "the end of a text in DOS": lambda text: text.encode() + b"\x1a",
    "a path with a wide blank": lambda text: text.replace("ROOT", "my\u3000data").encode(),
    "no end": lambda text: text.rstrip().encode(),
    "empty lines above": lambda text: b"\n \n" + text.encode(),
    "a comment above": lambda text: f"# my_configs/experiment/mine.yaml\n{text}".encode(),
    "a long comment above": lambda text: f"# {'x' * 600}\n{text}".encode(),
    "a document's start above": lambda text: b"---\n" + text.encode(),
    "a comment behind": lambda text: text.replace("_global_", "_global_  # everywhere").encode(),
    "a tab": lambda text: text.replace("# @package ", "#@package\t").encode(),
    "a colon": lambda text: text.replace("@package", "@package:").encode(),
}
REFUSED: dict[str, tuple[bytes, str]] = {
    "Latin-1": (EXPERIMENT.replace("data:", "# Köln\ndata:", 1).encode("latin-1"), "line 4 holds the byte 0xf6"),
    "a zero byte": (EXPERIMENT.encode() + bytes(3), "line 9 holds a zero byte"),
    "no package": (WITHOUT.encode(), "expected the line `# @package _global_` at its top"),
    "no package sign": (EXPERIMENT.replace("@", "", 1).encode(), "expected the line `# @package _global_` at its top"),
    "package below": ((WITHOUT + "# @package _global_\n").encode(), "line 8: .* below it, where it has no effect"),
    "blanks of a web page": (EXPERIMENT.replace("      root", "\u00a0     root").encode(), "line 7: a blank that YAML"),
    "wide blanks": (EXPERIMENT.replace("  sources", "\u3000sources").encode(), "line 5: a blank that YAML"),
    "a web page's blank behind a colon": (EXPERIMENT.replace("root: ", "root:\u00a0").encode(), r"line 7: a blank that YAML .*xa0"),
    "a blank without width": (EXPERIMENT.replace("      root", "\u200b      root").encode(), r"line 7: a blank that YAML .*u200b"),
    "an id twice": (EXPERIMENT.replace("2: car", "1: car").encode(), "line 8: the key 1 comes twice"),
    "an id in two ways": (EXPERIMENT.replace("1: road, 2: car", "8: road, 010: car").encode(), r"the key 010 .* \(8 is the same\)"),
    "an id and a truth value": (EXPERIMENT.replace("2: car", "yes: car").encode(), r"the key yes comes twice \(1 is the same\)"),
    "no name": (EXPERIMENT.replace(" _global_", "").encode(), "line 1: expected a line such as"),
}


def write_data(root: Path) -> None:
    """Four images with labels of two classes."""
    for name, value in (("images", 90), ("labels", 1)):
        (root / name).mkdir()
        for number in range(4):
            picture = Image.new("L", (16, 16), value)
            picture.paste(2, (0, 0, 8, 8))
            picture.save(root / name / f"{number}.png")


def write(folder: Path, data: bytes, name: str = "mine") -> str:
    """Write an experiment of its own, and return the folder as Hydra names it."""
    (folder / "experiment").mkdir(parents=True, exist_ok=True)
    (folder / "experiment" / f"{name}.yaml").write_bytes(data)
    return f"file://{folder}"


@pytest.mark.parametrize("case", READ)
def test_the_same_settings(case: str, tmp_path: Path) -> None:
    result = FileConfigSource("test", write(tmp_path, READ[case](EXPERIMENT))).load_config("experiment/mine")
    assert result.header == {"package": "_global_"}
    assert result.config == yaml.safe_load(EXPERIMENT.replace("ROOT", "my\u3000data" if "path" in case else "ROOT"))


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_for_certain_is_refused_by_name(case: str, tmp_path: Path) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(ConfigurationError, match=reason) as error:
        FileConfigSource("test", write(tmp_path, data)).load_config("experiment/mine")
    assert str(tmp_path / "experiment/mine.yaml") in str(error.value)


@pytest.mark.parametrize("tab", ["\tdata: {}\n", "data:\n\tsources: {}\n"])
def test_tabs_are_refused_with_file_and_line(tab: str, tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError, match=r"experiment/mine\.yaml\", line [23]"):
        FileConfigSource("test", write(tmp_path, b"# @package _global_\n" + tab.encode())).load_config("experiment/mine")


def test_aliases_and_merged_mappings(tmp_path: Path) -> None:
    text = "# @package _global_\na: &a {x: 1}\nb: {<<: *a, y: 2}\nc: {<<: *a, y: *a}\n"
    assert FileConfigSource("test", write(tmp_path, text.encode())).load_config("experiment/mine").config["c"] == {"x": 1, "y": {"x": 1}}


def test_what_needs_no_package_line(tmp_path: Path) -> None:
    """An experiment that only names others; files of other groups, which lie where their group says."""
    source = write(tmp_path, b"defaults: [multi_source_gs]\n")
    (tmp_path / "domain").mkdir()
    (tmp_path / "domain/mine.yaml").write_bytes(codecs.BOM_UTF8 + b"root: x\n")
    for name in ("experiment/mine", "domain/mine"):
        assert FileConfigSource("test", source).load_config(name).header == {"package": None}


@pytest.mark.parametrize("case", ["a mark", "UTF-16, little", "a comment above"])
def test_a_command_takes_the_experiment(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before, it was ignored without a word, and the check looked at everything below `paths.data`."""
    write_data(tmp_path)
    write(tmp_path / "conf", READ[case](EXPERIMENT.replace("ROOT", str(tmp_path))))
    code, out, err = run_in_process(main, ["--config-dir", "conf", "experiment=mine", "workers=0", "paths.data=nowhere"], tmp_path, capsys)
    assert (code, err) == (0, "")
    assert "Ready to train" in out


@pytest.mark.parametrize("ending", [".yml", ".yaml.txt", ".txt"])
def test_files_that_hydra_does_not_look_at_are_named(ending: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before, the experiment could not be found, although it was there for everyone to see."""
    write(tmp_path / "conf", EXPERIMENT.encode())
    (tmp_path / "conf/experiment/mine.yaml").rename(tmp_path / f"conf/experiment/mine{ending}")
    code, _, err = run_in_process(main, ["--config-dir", "conf", "experiment=mine", "workers=0"], tmp_path, capsys)
    assert code == 2
    assert f"experiment/mine{ending}: expected a name that ends in .yaml alone. Rename the file to mine.yaml." in err
    assert "Traceback" not in err


def test_a_process_of_a_sweep_keeps_the_reader() -> None:
    """It gets the sources of the first process, and then registers Hydra's own."""
    yaml_files.install()
    SourcesRegistry.instance().register(file_config_source.FileConfigSource)
    assert SourcesRegistry.instance().resolve("file") is FileConfigSource


@pytest.mark.slow
def test_a_sweep_in_several_processes_takes_the_experiments(tmp_path: Path) -> None:
    write_data(tmp_path)
    for case, name in (("a mark", "one"), ("UTF-16, little", "two")):
        write(tmp_path / "conf", READ[case](EXPERIMENT.replace("ROOT", str(tmp_path))), name)
    arguments = ["--config-dir", "conf", "-m", "hydra/launcher=joblib", "experiment=one,two", "workers=0", "paths.data=nowhere"]
    done = subprocess.run(
        [sys.executable, "-m", "pin_memory.check", *arguments, "hydra.sweep.dir=swept"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Ready to train") == 2


def test_a_command_names_the_file_in_another_encoding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "conf", REFUSED["Latin-1"][0])
    code, _, err = run_in_process(main, ["--config-dir", "conf", "experiment=mine", "workers=0"], tmp_path, capsys)
    assert code == 2
    assert "conf/experiment/mine.yaml cannot be read: line 4 holds the byte 0xf6" in err
    assert "Traceback" not in err
