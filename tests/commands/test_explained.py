"""The comments of the YAML files in `--help`, and what the Tab key completes."""

import re
from pathlib import Path

import pytest
import yaml

import pin_memory.cli
from pin_memory import train
from pin_memory.cli.explained import head, key_comments
from pin_memory.utils.config import config_directory
from tests.helpers.in_process import run_in_process

FILES = sorted(config_directory().rglob("*.yaml"))
OPTIONS = [
    path for path in FILES if path.parent != config_directory() and path.parts[-2] not in ("hydra", "sweeper") and path.name[0] != "_"
]


def test_a_comment_belongs_to_the_key_of_its_line() -> None:
    text = """# @package _global_
# What it is, a name: value. Try: a=1
defaults:
  - /group: null # a group
a: 1 # one: of a
b:   # of b
  "1C": "x # no comment"
  d: {e: 1, f: 2} # of d
  # of nothing
g: http://x#y
"""
    assert key_comments(text) == {"defaults.group": "a group", "a": "one: of a", "b": "of b", "b.d": "of d"}
    assert head(text) == "What it is, a name: value."


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(config_directory())))
def test_comments_are_found_as_yaml_finds_keys(path: Path) -> None:
    """By PyYAML's own marks: the first key of each line, and what stands behind the last token of that line."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    ends: dict[int, int] = {}
    for token in yaml.scan(text):
        if not isinstance(token, yaml.BlockEndToken | yaml.StreamEndToken):
            ends[token.end_mark.line] = max(ends.get(token.end_mark.line, 0), token.end_mark.column)
    expected: dict[int, str] = {}

    def below(node: yaml.Node, above: str) -> None:
        children = node.value if isinstance(node, yaml.MappingNode) else []
        for key, value in children:
            line = key.start_mark.line
            behind = lines[line][ends[line] :].strip()
            if behind.startswith("#"):
                expected.setdefault(line, f"{above}{key.value}={behind.lstrip('# ')}")
            below(value, f"{above}{key.value}.")

    below(yaml.compose(text), "")
    found = {f"{key}={comment}" for key, comment in key_comments(text).items() if not key.startswith("defaults.")}
    assert found == set(expected.values())


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: f"{path.parts[-2]}/{path.stem}")
def test_every_option_says_what_it_is(path: Path) -> None:
    assert len(head(path.read_text(encoding="utf-8"))) > 10


@pytest.mark.slow
def test_help_has_the_composed_settings_with_their_comments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read as YAML, the settings of the help are those that `--cfg job` prints."""
    code, shown, said = run_in_process(train.main, ["--help", "experiment=demo", "method=erm"], tmp_path, capsys)
    assert code == 0, said
    code, composed, said = run_in_process(train.main, ["--cfg", "job", "experiment=demo", "method=erm"], tmp_path, capsys)
    assert code == 0, said
    listed = shown.partition("== Settings (key=value) ==\n")[2].partition("\n== More")[0]
    assert yaml.safe_load(listed) == yaml.safe_load(composed)
    for line in (
        r"  \* erm +The baseline: all source images in one batch, no memory\.",
        r"    mldg +MLDG \(AAAI 2018\): meta-learning without a memory\.",
        r"    lora +LoRA on a frozen backbone, with any method\.",
        r"dry_run: false +# all checks and two iterations.*",
        r"  gradient_clip: null +# largest norm of the total gradient.*",
    ):
        assert re.search(f"^{line}$", shown, re.MULTILINE), line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("pin-memory pre", set(pin_memory.cli.COMMANDS)),  # the shell takes those that begin so
        ("pin-memory train experiment=single_source_g_", {"experiment=single_source_g_ppar", "experiment=single_source_g_views"}),
        ("pin-memory stand-in images_", {"images_per_domain="}),
    ],
)
def test_tab(typed: str, expected: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMP_LINE", typed)
    code, out, said = run_in_process(pin_memory.cli.main, ["-sc", "query=bash"], tmp_path, capsys)
    assert (code, set(out.split())) == (0, expected), said


@pytest.mark.slow
def test_the_script_for_the_tab_key_is_for_the_console_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, said = run_in_process(pin_memory.cli.main, ["-sc", "install=bash"], tmp_path, capsys)
    assert code == 0, said
    assert out.splitlines()[-1].endswith(" -F hydra_bash_completion pin-memory")
