"""What a GPU does with the library, in one command that needs neither data nor a network connection.

    python -m benchmarks.gpu [--minutes 8 --output DIR]      # on a machine without a GPU it says so and ends with exit code 0
    python -m benchmarks.gpu --device cpu --tiny             # the same code in seconds, as the tests run it

Step time, images a second, peak memory and share of the measured matmul rate of erm and pin_the_memory; a training that is killed and
resumed, compared with one that was not, bit by bit, with `trainer.deterministic=true`; evaluation at 2048x1024; the ten slowest kernels of
a step. What would begin after `--minutes` is left out and named. Writes `gpu.json` and `gpu.md`.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.step_time import operations
from benchmarks.stepping import about, headline, make_batch, make_method, matmul_rate, seconds, wait, write
from tests.helpers.resumption import differences, left

R50, LITE = "network=deeplab_v3plus_resnet50", "network=deeplab_v3plus_efficientnet_lite0"
VARIANTS = {
    f"{network.partition('plus_')[2]} {method} {numbers}{extra}": ([network, f"method={method}", *options], numbers)
    for network in (R50, LITE)
    for method in ("erm", "pin_the_memory")
    for numbers in ("float32", "bf16")
    for extra, options in (
        ("", ["network.channels_last=false"]),
        (" channels_last", ["network.channels_last=true"]),
        (" channels_last compile", ["network.channels_last=true", "network.compile=true"]),
    )
    if network == R50 or extra == " channels_last"
    if "compile" not in extra or numbers == "bf16"
}
"""Overrides of the command line, and the numbers that autocast computes in; those that are compiled come last."""
SHORT = [
    "experiment=demo", "network=deeplab_v3plus_resnet18", "network.backbone.pretrained=null", "method.train_statistics=domain",
    "trainer.deterministic=true", "trainer.max_steps=12", "trainer.val_check_interval=5", "callbacks.last.every=2", "callbacks.panels=null",
    "loading.max_val_images=1", "data.stand_in.images_per_domain=8", "floors=false", "test=false", "logger=csv",
]  # fmt: skip
"""A training of some seconds on drawn scenes, with Gumbel noise and drop-out."""


def steps(arguments: argparse.Namespace, time_is_up: Callable[[], bool]) -> dict[str, Any]:
    """A row for each variant: seconds, images a second, peak memory, share of the matmul rate."""
    types = {"float32": torch.float32, "bf16": torch.bfloat16}
    rates = {name: matmul_rate(arguments.device, dtype) for name, dtype in types.items()}
    batch = make_batch(arguments.domains, arguments.images, arguments.size, arguments.device)
    rows: dict[str, Any] = {}
    for name in sorted(VARIANTS, key=lambda name: "compile" in name):
        if arguments.tiny and not name.startswith("efficientnet"):
            continue
        if time_is_up() or ("compile" in name and arguments.device == "cpu"):
            rows[name] = None
            continue
        overrides, numbers = VARIANTS[name]
        method = make_method(overrides, arguments.device)
        if arguments.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        for _ in range(3):
            method.step(batch, types[numbers])
        wait(method)
        taken = [seconds(method, batch, types[numbers]) for _ in range(arguments.rounds)]
        row = {"seconds": statistics.median(taken), "min": min(taken), "max": max(taken)}
        row["images_per_second"] = arguments.domains * arguments.images / row["seconds"]
        if arguments.device == "cuda":
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        if "compile" not in name:
            row["share_of_matmul"] = operations(method, batch, types[numbers]) / row["seconds"] / rates[numbers]
        rows[name] = row
        del method
    return {"matmul": rates, "steps": rows}


def kernels(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The ten slowest operations of a step of Pin the Memory, with their share of the device's time."""
    network = LITE if arguments.tiny else R50
    method = make_method([network, "method=pin_the_memory", "network.channels_last=true"], arguments.device)
    batch = make_batch(arguments.domains, arguments.images, arguments.size, arguments.device)
    kind = "device" if arguments.device == "cuda" else "cpu"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if arguments.device == "cuda" else [])]
    method.step(batch, torch.bfloat16)
    wait(method)
    with profile(activities=activities) as found:
        method.step(batch, torch.bfloat16)
        wait(method)
    rows = [(row.key, getattr(row, f"self_{kind}_time_total"), row.count) for row in found.key_averages()]
    total = sum(row[1] for row in rows) or 1
    slowest = sorted(rows, key=lambda row: -row[1])[:10]
    return [{"name": name[:90], "share": spent / total, "calls": calls} for name, spent, calls in slowest]


def resumption(arguments: argparse.Namespace) -> list[str]:
    """What differs between a training that was killed and resumed and one that was not; nothing, if all is well."""
    accelerator = "gpu" if arguments.device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        fixed = [*SHORT, f"trainer.accelerator={accelerator}", f"paths.output={folder}"]
        environment = os.environ | {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

        def begin(run: Path) -> "subprocess.Popen[bytes]":
            line = [sys.executable, "-m", "pin_memory.train", *fixed, f"hydra.run.dir={run}", "resume=auto"]
            return subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL)

        never, killed = Path(folder) / "never", Path(folder) / "killed"
        if code := begin(never).wait():
            return [f"the training ended with exit code {code}"]
        process = begin(killed)
        while process.poll() is None and not list((killed / "checkpoints").glob("step-*.ckpt")):
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            return [f"the training that was to be killed ended with exit code {process.returncode}"]
        if code := begin(killed).wait():
            return [f"the resumed training ended with exit code {code}"]
        return differences(left(never), left(killed))


@torch.inference_mode()
def evaluation(arguments: argparse.Namespace) -> dict[str, float]:
    """Images a second of a whole 2048x1024 image (tiny: a sixteenth of that), by network, in float32 and bfloat16."""
    height, width = (256, 512) if arguments.tiny else (1024, 2048)
    found = {}
    for network in (LITE,) if arguments.tiny else (R50, LITE):
        method = make_method([network, "network.channels_last=true"], arguments.device).eval()
        image = torch.randn(1, 3, height, width, device=arguments.device)
        for name, enabled in (("float32", False), ("bf16", True)):
            times = []
            for _ in range(2 + arguments.rounds):
                start = time.perf_counter()
                with torch.autocast(arguments.device, torch.bfloat16, enabled=enabled):
                    method.network(image).argmax(1)
                wait(method)
                times.append(time.perf_counter() - start)
            found[f"{network.partition('plus_')[2]} {name}"] = 1 / statistics.median(times[2:])
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """All parts, the short ones first; what there is no time for is None."""
    start = time.monotonic()

    def time_is_up() -> bool:
        return time.monotonic() - start > 60 * arguments.minutes * 0.8  # the part that has begun is finished

    result: dict[str, Any] = about({**vars(arguments), "output": str(arguments.output), "threads": torch.get_num_threads()})
    for name, part in (("evaluation", evaluation), ("kernels", kernels), ("resumption", resumption)):
        result[name] = None if time_is_up() else part(arguments)
    return {**result, **steps(arguments, time_is_up), "minutes": (time.monotonic() - start) / 60}


def markdown(result: dict[str, Any]) -> str:
    """The result as tables."""
    s = result["settings"]
    rates = ", ".join(f"{rate / 1e12:.2f} TFLOP/s ({name})" for name, rate in result["matmul"].items())
    lines = [
        f"{headline(result)}; {s['domains']} domains x {s['images']} images x {s['size']} px, medians of {s['rounds']} rounds,"
        f" {result['minutes']:.1f} minutes in all. Matrix products of 2048: {rates}.",
        "",
        "| variant | s / iteration (min-max) | images / s | peak GiB | of matmul |",
        "|---|---|---|---|---|",
    ]
    for name, row in result["steps"].items():
        if row is None:
            lines.append(f"| {name} | not run | | | |")
            continue
        share = f"{row['share_of_matmul']:.0%}" if "share_of_matmul" in row else "-"
        peak = f"{row['peak_gib']:.1f}" if "peak_gib" in row else "-"
        times = f"{row['seconds']:.3f} ({row['min']:.3f}-{row['max']:.3f})"
        lines.append(f"| {name} | {times} | {row['images_per_second']:.1f} | {peak} | {share} |")
    differing = result["resumption"]
    verdict = "not run" if differing is None else "bit by bit equal" if not differing else f"DIFFERS: {'; '.join(differing[:5])}"
    lines += ["", f"Killed, resumed, and compared with a training that was not: {verdict}.", ""]
    lines += ["| evaluation of whole images | images / s |", "|---|---|"]
    lines += [f"| {name} | {rate:.2f} |" for name, rate in (result["evaluation"] or {}).items()]
    lines += ["", "| slowest kernels of a step (bf16, channels_last) | share | calls |", "|---|---|---|"]
    lines += [f"| `{row['name']}` | {row['share']:.1%} | {row['calls']} |" for row in result["kernels"] or []]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--tiny", action="store_true", help="small images and one round, to see that it runs")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("There is no GPU here (torch.cuda.is_available() is false): nothing is measured.")
        return
    arguments.domains, arguments.images, arguments.size, arguments.rounds = (3, 2, 64, 1) if arguments.tiny else (3, 4, 768, 5)
    result = measure(arguments)
    write(result, markdown(result), arguments.output, "gpu")


if __name__ == "__main__":
    main()
