"""A long training on stand-ins: does memory, the number of open files or the work of an iteration grow?

    python -m benchmarks.soak [--minutes 120 --every 10 --output DIR] [override ...]

Trains a small network with a validation and a checkpoint every 50 iterations, looks at the run's processes (the loading processes included)
every few seconds, and ends it with SIGTERM. The work of an iteration is processor time, since the clock's depends on what else the machine
does. Linux only. Writes `soak.json`, `soak.md` and `soak.png`.
"""

import argparse
import csv
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.stepping import about, headline, write

SMALL = [
    "experiment=demo", "network=deeplab_v3plus_resnet18", "optimizer=sgd", "network.channels=32", "network.auxiliary_channels=16",
    "augmentation.crop_size=64", "loading.batch_size=2",
    "loading.num_workers=1", "loading.max_val_images=2", "trainer.max_steps=10000000",
    "trainer.val_check_interval=50", "trainer.accelerator=cpu", "logger=csv", "floors=false",
]  # fmt: skip
TICK = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    found, parents = [root], {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def look(root: int) -> dict[str, float]:
    """Resident MiB, open files and seconds of processor time so far, of the whole tree; ended children count through their parents."""
    rss = files = ticks = 0
    for process in tree(root):
        folder = Path("/proc") / str(process)
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            rss += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
            ticks += sum(int(field) for field in fields[11:15])
            files += len(list((folder / "fd").iterdir()))
        except OSError:
            continue
    return {"mib": rss / 2**20, "files": files, "cpu": ticks / TICK}


def last_step(run: Path) -> int:
    """Iterations that are in the metrics."""
    path = run / "metrics.csv"
    if not path.is_file():
        return 0
    steps = [row["step"] for row in csv.DictReader(path.read_text().splitlines()) if row.get("step")]
    return max((int(step) for step in steps), default=0)


def soak(minutes: float, every: float, overrides: list[str]) -> tuple[list[dict[str, float]], int]:
    """Train for so long; what was seen, and the exit code."""
    seen = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        places = [f"paths.data={folder}/data", f"hydra.run.dir={run}"]
        line = [sys.executable, "-m", "pin_memory.train", *SMALL, *places, *overrides]
        with (Path(folder) / "log").open("w") as log:
            training = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT)
            start = time.monotonic()
            while time.monotonic() - start < 60 * minutes and training.poll() is None:
                time.sleep(every)
                seen.append({"minutes": (time.monotonic() - start) / 60, "step": last_step(run), **look(training.pid)})
            training.send_signal(signal.SIGTERM)
            code = training.wait(300)
        if code != 143:
            print((Path(folder) / "log").read_text()[-3000:], file=sys.stderr)
    return seen, code


def quarters(seen: list[dict[str, float]]) -> list[dict[str, float]]:
    """Medians of the four quarters of the time, the first minutes left out; processor seconds of an iteration over each quarter."""
    steady = [row for row in seen if row["step"] > 0]
    steady = steady[len(steady) // 20 :]  # the first minutes fill caches
    size = max(len(steady) // 4, 2)
    found = []
    for number in range(4):
        part = steady[number * size : (number + 1) * size]
        steps = part[-1]["step"] - part[0]["step"]
        row = {key: statistics.median(entry[key] for entry in part) for key in ("mib", "files")}
        found.append(row | {"steps": steps, "cpu_per_step": (part[-1]["cpu"] - part[0]["cpu"]) / max(steps, 1)})
    return found


def plot(seen: list[dict[str, float]], path: Path) -> None:
    """Three small charts over the minutes."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, figsize=(7, 5.4), sharex=True, layout="constrained")
    minutes = [row["minutes"] for row in seen]
    work = [(b["minutes"], (b["cpu"] - a["cpu"]) / (b["step"] - a["step"])) for a, b in _spaced(seen)]
    series = [(minutes, [row["mib"] for row in seen], "resident, MiB"), (minutes, [row["files"] for row in seen], "open files")]
    series.append(([point[0] for point in work], [point[1] for point in work], "CPU s / iteration"))
    for axis, (x, y, name) in zip(axes, series, strict=True):
        axis.plot(x, y, linewidth=1.2, color="#2a6f97")
        axis.set_ylim(0, 1.25 * max(y, default=1))
        axis.set_ylabel(name)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("minutes of training")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)


def _spaced(seen: list[dict[str, float]], steps: int = 100) -> list[tuple[dict[str, float], dict[str, float]]]:
    """Pairs of looks at least so many iterations apart, validations evened out."""
    pairs, before = [], None
    for row in seen:
        if row["step"] and (before is None or row["step"] - before["step"] >= steps):
            pairs += [(before, row)] if before else []
            before = row
    return pairs


def markdown(result: dict[str, Any]) -> str:
    """The quarters as a table."""
    last = result["seen"][-1]
    lines = [
        f"{last['minutes']:.0f} minutes, {last['step']:.0f} iterations; {headline(result)}; ended by SIGTERM, exit code {result['code']}.",
        "",
        "| quarter | iterations | resident, MiB | open files | CPU s / iteration |",
        "|---|---|---|---|---|",
    ]
    for number, row in enumerate(result["quarters"], 1):
        lines.append(f"| {number} | {row['steps']:.0f} | {row['mib']:.0f} | {row['files']:.0f} | {row['cpu_per_step']:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, train, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--every", type=float, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    arguments, overrides = parser.parse_known_args()
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    seen, code = soak(arguments.minutes, arguments.every, overrides)
    result = about({"minutes": arguments.minutes, "threads": arguments.threads, "overrides": [*SMALL, *overrides]})
    result |= {"code": code, "quarters": quarters(seen), "seen": seen}
    plot(seen, arguments.output / "soak.png")
    write(result, markdown(result), arguments.output, "soak")


if __name__ == "__main__":
    main()
