"""The console command `pin-memory`: `pin-memory train experiment=demo` is `python -m pin_memory.train experiment=demo`."""

import ast
import difflib
import runpy
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

COMMANDS = ("train", "evaluate", "compare", "predict", "analyze", "report", "export", "check", "convert", "stand_in")
WRONG_USAGE = 2


def main() -> None:
    """Run the sub-command named by the first argument with the rest of them."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return
    if arguments[0] in ("-V", "--version"):
        print(f"pin-memory {_version()}")
        return
    name = arguments[0].replace("-", "_")
    if name not in COMMANDS:
        sys.exit(_unknown(arguments[0]))
    sys.argv = [f"pin-memory {name}", *arguments[1:]]
    # As `__main__`, so that Lightning finds the module to start again for its other processes (several GPUs).
    runpy.run_module(f"pin_memory.{name}", run_name="__main__", alter_sys=True)


def _overview() -> str:
    """The list of all commands, which is printed without one."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {_summary(name)}" for name in COMMANDS]
    return "\n".join(
        [
            "usage: pin-memory COMMAND [SETTING=VALUE ...]",
            "",
            *lines,
            "",
            "`pin-memory COMMAND --help` shows its choices, settings and examples. A first run: pin-memory train experiment=demo",
        ]
    )


def _summary(name: str) -> str:
    """The first line of a command's docstring, read without importing the command."""
    source = Path(__file__).parents[1] / f"{name}.py"
    docstring = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) if source.is_file() else None
    return (docstring or "").partition("\n")[0].partition(": `")[0].rstrip(".")


def _version() -> str:
    try:
        return version("pin_memory")
    except PackageNotFoundError:
        return "(not installed)"


def _unknown(name: str) -> int:
    """Print the commands that there are, and return the exit code."""
    near = difflib.get_close_matches(name.replace("-", "_"), COMMANDS, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    print(f"Error: there is no command '{name}'.{hint} Choose one of: {', '.join(COMMANDS)}.", file=sys.stderr)
    return WRONG_USAGE


if __name__ == "__main__":
    main()
