"""What docs/extend.md says about adding a domain, a network and a method is done here as it stands."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.helpers.tiny_run import TINY

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")
FILES = {name: text for _, name, text in re.findall(r"```(yaml|python)\n# (my_[\w/]+\.(?:yaml|py))\n(.*?)```", PAGE, re.DOTALL)}
COMMANDS = re.findall(r"^`python -m (pin_memory\.train .*my_.*)`$", PAGE, re.MULTILINE)


def typed(command: str, cwd: Path, *more: str) -> None:
    """Type a command of the page, shortened, on stand-ins in place of the published data."""
    words = command.replace("multi_source_gsi", "demo").split()
    environment = os.environ | {"PYTHONPATH": str(cwd)}  # what `python -m` has in front anyway; named for the test's own interpreter
    done = subprocess.run(
        [sys.executable, "-m", *words, *TINY, "floors=false", "logger=csv", "hydra.run.dir=run", *more],
        cwd=cwd, capture_output=True, text=True, timeout=300, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout


def test_the_page_has_all_three() -> None:
    assert sorted(FILES) == ["my_configs/experiment/my_target.yaml", "my_method.py", "my_network.py"]
    assert len(COMMANDS) == 3


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FILES))
def test_an_addition_of_the_page_works(name: str, tmp_path: Path) -> None:
    """Written to the file that it names, and used by its command."""
    (command,) = (command for command in COMMANDS if Path(name).parts[0].removesuffix(".py") in command)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(FILES[name].replace("multi_source_gs", "demo").replace("/datasets/mine", str(tmp_path / "mine")))
    if name.endswith(".yaml"):
        for folder, suffix in (("rgb", ".jpg"), ("seg", ".png")):
            (tmp_path / "mine" / "street" / folder).mkdir(parents=True)
            picture = np.full((48, 64, 3), 90, np.uint8) if folder == "rgb" else np.tile(np.array([0, 1, 7, 7], np.uint8), (48, 16))
            cv2.imwrite(str(tmp_path / "mine" / "street" / folder / f"a{suffix}"), picture)
    typed(command, tmp_path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["method"] == ("worst_domain" if name == "my_method.py" else "pin_the_memory")
    if name.endswith(".yaml"):
        known = {key for key, value in results["targets"]["mine"]["iou"].items() if value is not None}
        assert known == {"road", "car"}
    if name == "my_network.py":
        assert "my_network.MobileNet" in (tmp_path / "run" / "config.yaml").read_text()
