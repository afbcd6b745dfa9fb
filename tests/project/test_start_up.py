"""What is not imported before it is needed; benchmarks/start_up.py takes the time."""

import subprocess
import sys
from pathlib import Path

from benchmarks.start_up import HELP, IMPORT, aim, cases, missed
from pin_memory.cli import COMMANDS

HEAVY = ("torch", "lightning", "torchvision", "torchmetrics", "albumentations", "cv2", "matplotlib", "wandb", "pandas", "sklearn")


def test_importing_the_package_imports_nothing_heavy() -> None:
    spy = f"import sys, pin_memory; print([name for name in {HEAVY} if name in sys.modules], pin_memory.__version__)"
    done = subprocess.run([sys.executable, "-c", spy], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[] ")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    """Of the command with the most behind it; tests/commands/test_commands.py looks at torch for all of them."""
    spy = f"import sys, atexit; sys.argv = ['x', '--help']; atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules]));"
    run = " import runpy; runpy.run_module('pin_memory.train', run_name='__main__', alter_sys=True)"
    done = subprocess.run([sys.executable, "-c", spy + run], capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("[]\n")


def test_the_benchmark_starts_every_command_and_knows_what_is_late() -> None:
    rows = {name: {"seconds": 2.0, "aim": aim(name)} for name in cases()}
    assert {f"{command} --help" for command in COMMANDS} <= rows.keys()
    assert (rows["train --help"]["aim"], rows["import pin_memory"]["aim"], rows["Python alone"]["aim"]) == (HELP, IMPORT, None)
    assert missed({"rows": rows}) == ["import pin_memory"]
