"""docs/tutorial_own_sites.md is typed as it stands, with fewer steps and a smaller network."""

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.in_process import run_in_process

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial_own_sites.md").read_text(encoding="utf-8")
FILES = {name: text for _, name, text in re.findall(r"```(yaml|python)\n# ([\w/]+\.(?:yaml|py))\n(.*?)```", PAGE, re.DOTALL)}
COMMANDS = [shlex.split(line) for line in re.findall(r"^python -m (pin_memory\..+)$", PAGE, re.MULTILINE)]
SHORT = [
    "logger=csv", "network.channels=16", "network.auxiliary_channels=8", "network.backbone.pretrained=null", "augmentation.crop_size=64",
    "trainer.max_steps=2", "trainer.val_check_interval=2", "trainer.accelerator=cpu", "initialisation.batches=1",
    "loading.max_test_images=2",
]  # fmt: skip


def test_the_tutorial_has_its_files_and_commands() -> None:
    assert sorted(FILES) == ["draw_sites.py", "my_configs/domain/site.yaml", "my_configs/experiment/sites.yaml"]
    assert [command[0].removeprefix("pin_memory.") for command in COMMANDS] == [
        "check", "train", "train", "compare", "train", "predict", "export",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_tutorial_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run([sys.executable, "draw_sites.py"], cwd=tmp_path, check=True, timeout=60)
    for module, *words in COMMANDS:
        short = []
        if module == "pin_memory.train":  # the sweep: two of its nine
            short = [*SHORT, *(["target=north", "variant=erm,pin_the_memory"] if "-m" in words else [])]
        code, out, said = run_in_process(importlib.import_module(module).main, [*words, *short], tmp_path, capsys)
        assert code == 0, f"{module} {words}\n{said}{out}"
    assert len(list((tmp_path / "sheets").glob("*.jpg"))) == 3
    assert "north" in (tmp_path / "comparison" / "comparison.md").read_text()
    assert len(list((tmp_path / "predictions").rglob("*_trainids.png"))) == 24
    assert (tmp_path / "model.onnx").stat().st_size > 0
