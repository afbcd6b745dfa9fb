"""The console command `pin-memory`: `pin-memory train experiment=demo` is `python -m pin_memory.train experiment=demo`."""

import ast
import difflib
import os
import runpy
import sys
from pathlib import Path

from pin_memory import __version__

COMMANDS = ("train", "evaluate", "compare", "predict", "analyze", "report", "dashboard", "export", "check", "convert", "text", "stand_in")
WRONG_USAGE = 2


def main() -> None:
    """Run the sub-command named by the first argument with the rest of them."""
    first, *rest = sys.argv[1:] or ["help"]
    name = first.replace("-", "_")
    if first in ("-h", "--help", "help"):
        print(_overview())
    elif first in ("-V", "--version"):
        print(f"pin-memory {__version__}")
    elif first in ("-sc", "--shell-completion"):
        _complete(rest)
    elif name in COMMANDS:
        sys.argv = [f"pin-memory {name}", *rest]
        _look_in_the_working_folder()
        # As `__main__`, so that Lightning finds the module to start again for its other processes (several GPUs).
        runpy.run_module(f"pin_memory.{name}", run_name="__main__", alter_sys=True)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        print(f"Error: there is no command '{first}'.{hint} Choose one of: {', '.join(COMMANDS)}.", file=sys.stderr)
        sys.exit(WRONG_USAGE)


def _complete(rest: list[str]) -> None:
    """Print the script that a shell installs for the Tab key, or what may stand at the end of the line that is typed (COMP_LINE)."""
    words = os.environ.get("COMP_LINE", "").split(" ")
    name = words[1].replace("-", "_") if len(words) > 2 else "train"
    if rest[:1] == ["query=bash"] and (len(words) < 3 or name not in COMMANDS):
        print(*COMMANDS, sep="\n")
        return
    os.environ["COMP_LINE"] = " ".join(["pin-memory", *words[2:]])
    sys.argv = ["pin-memory", "-sc", *rest]  # Hydra names the program that the script is for after the first
    runpy.run_module(f"pin_memory.{name}", run_name="__main__")


def _look_in_the_working_folder() -> None:
    """Let imports find a user's modules where the command is typed, as `python -m` does unless it was told not to (`python -P`)."""
    if not sys.flags.safe_path and os.getcwd() not in sys.path:  # noqa: PTH109 - as Python itself writes it
        sys.path.insert(0, os.getcwd())  # noqa: PTH109


def _overview() -> str:
    """The list of all commands, each with the first line of its docstring, which is read without importing it."""
    width = max(map(len, COMMANDS))
    lines = ["usage: pin-memory COMMAND [SETTING=VALUE ...]", ""]
    for name in COMMANDS:
        source = (Path(__file__).parents[1] / f"{name}.py").read_text(encoding="utf-8")
        summary = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].partition(": `")[0].rstrip(".")
        lines.append(f"  {name:<{width}}  {summary}")
    advice = "`pin-memory COMMAND --help` shows its choices, settings and examples. A first run: pin-memory train experiment=demo"
    return "\n".join([*lines, "", advice])
