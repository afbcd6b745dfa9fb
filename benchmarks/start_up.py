"""Seconds to `--help` of every command and to `import pin_memory`.

    python -m benchmarks.start_up [--repeats 5 --output DIR]

Medians of fresh processes, all commands in turn, so that a drift of the machine's speed hits all. "Python alone" runs nothing. Writes
`start_up.json` and `start_up.md`; exits with 1 where an aim is missed.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.data_pipeline import cpu
from pin_memory.cli import COMMANDS
from pin_memory.runs.provenance import provenance
from pin_memory.utils.files import write_text

HELP, IMPORT = 3.0, 1.0  # seconds, the aims


def cases() -> dict[str, list[str]]:
    """What is started, by name."""
    made = {
        "Python alone": ["-c", "pass"],
        "import pin_memory": ["-c", "import pin_memory"],
        "pin-memory --help": ["-m", "pin_memory", "--help"],
    }
    return made | {f"{command} --help": ["-m", f"pin_memory.{command}", "--help"] for command in COMMANDS}


def seconds(arguments: list[str]) -> tuple[float, float]:
    """By the clock, and of the processor, of a Python process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(repeats: int) -> dict[str, Any]:
    """Medians of all; the first round warms the file cache and does not count."""
    load, found = [os.getloadavg()[0]], [{name: seconds(arguments) for name, arguments in cases().items()} for _ in range(repeats + 1)]
    rows = {
        name: {
            "seconds": statistics.median(turn[name][0] for turn in found[1:]),
            "processor_seconds": statistics.median(turn[name][1] for turn in found[1:]),
            "aim": aim(name),
        }
        for name in cases()
    }
    about = {"settings": {"repeats": repeats}, "cpu": cpu(), "load": [*load, os.getloadavg()[0]], "provenance": provenance()}
    return about | {"rows": rows}


def aim(name: str) -> float | None:
    """Seconds by the clock that are allowed."""
    return HELP if name.endswith("--help") else IMPORT if name.startswith("import") else None


def missed(result: dict[str, Any]) -> list[str]:
    """What takes longer than it may."""
    return [name for name, row in result["rows"].items() if row["aim"] is not None and row["seconds"] > row["aim"]]


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    p, load = result["provenance"], ", ".join(f"{value:.1f}" for value in result["load"])
    lines = [
        f"{result['cpu']}, Python {p['python']}, {p['date'][:10]}; medians of {result['settings']['repeats']} fresh processes, files in the"
        f" cache. Load of the machine before and after: {load}.",
        "",
        "| started | s | s of the processor | aim, s |",
        "|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        lines.append(f"| `{name}` | {row['seconds']:.2f} | {row['processor_seconds']:.2f} | {row['aim'] or ''} |")
    late = missed(result)
    lines += ["", f"The aims are {'missed by ' + ', '.join(late) if late else 'kept'}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    result = measure(arguments.repeats)
    write_text(arguments.output / "start_up.json", json.dumps(result, indent=2) + "\n")
    write_text(arguments.output / "start_up.md", markdown(result))
    print(markdown(result), f"Written to {arguments.output}", sep="\n")
    sys.exit(1 if missed(result) else 0)


if __name__ == "__main__":
    main()
