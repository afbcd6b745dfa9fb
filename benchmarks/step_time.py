"""Seconds, operations and peak memory of one training iteration, by method, precision, memory order and compilation.

    python -m benchmarks.step_time [--network deeplab_v3plus_resnet50 --domains 2 --images 2 --size 256 --threads 2 --rounds 5]
                                   [--variants erm,pin_the_memory,...] [--override +adapter=lora ...] [--output DIR]
    python -m benchmarks.step_time --networks [NAME,NAME,...] --domains 1 --threads 1 --rounds 4

All variants step in turn on the same images in one process (A B C A B C ...), so that a drift of the machine's speed hits all; the quoted
ratios are medians of the ratios round by round. Operations are those of convolutions and matrix products, as PyTorch counts them. Peak
memory is read in a process of its own for each. Runs on the GPU where there is one. Writes `step_time_NETWORK.json` and `.md`.
`--networks` compares networks in place of variants, each with erm, float32 and channels_last, by processor time on a CPU: files of
`conf/network`, or names of timm, which get the heads of `deeplab_v3plus_timm`. The first one is what the others are compared with.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.stepping import about, headline, make_batch, make_method, matmul_rate, ratio, resident_mib, seconds, wait, write

PTM = ["method=pin_the_memory"]
ORDER = ["network.channels_last=true"]
VARIANTS: dict[str, tuple[list[str], torch.dtype]] = {
    "erm": (["method=erm"], torch.float32),
    "ppar": (["method=ppar", "text.path=null", "text.rows=random"], torch.float32),
    "mldg": (["method=mldg"], torch.float32),
    "meta_seg_net_dg": (["method=meta_seg_net_dg"], torch.float32),
    "mldg_second_order": (["method=mldg", "method.first_order=false"], torch.float32),
    "pin_the_memory": (PTM, torch.float32),
    "pin_the_memory+fast_commit": ([*PTM, "method.commit=fast"], torch.float32),
    "pin_the_memory_second_order": ([*PTM, "method.first_order=false"], torch.float32),
    "pin_the_memory+checkpointing": ([*PTM, "network.backbone.checkpointing=true"], torch.float32),
    "pin_the_memory+channels_last": ([*PTM, *ORDER], torch.float32),
    "pin_the_memory+channels_last+compile": ([*PTM, *ORDER, "network.compile=true"], torch.float32),
    "pin_the_memory+bf16": (PTM, torch.bfloat16),
    "erm+bf16+channels_last": (["method=erm", *ORDER], torch.bfloat16),
    "pin_the_memory+bf16+channels_last": ([*PTM, *ORDER], torch.bfloat16),
    "pin_the_memory+bf16+channels_last+compile": ([*PTM, *ORDER, "network.compile=true"], torch.bfloat16),
}
"""Overrides of the command line, and the type that autocast computes in."""
DEFAULT = [name for name in VARIANTS if not name.endswith("compile")]
"""Compiling for a CPU takes minutes and a C++ compiler."""
BASE = {"erm": "erm", "plain": "pin_the_memory"}
NETWORKS = (
    "deeplab_v3plus_resnet50,deeplab_v3plus_resnet18,deeplab_v3plus_efficientnet_lite0,tf_efficientnet_lite0,mobilenetv4_conv_small,"
    "mobilenetv3_large_100,convnext_atto,convnext_tiny,resnet50d,regnety_008"
)
"""Those of the table in docs/performance_training.md."""


def chosen(name: str, arguments: argparse.Namespace) -> tuple[list[str], torch.dtype]:
    """Overrides and type of a variant of the network, or of a network."""
    if name in VARIANTS:
        overrides, dtype = VARIANTS[name]
        return [f"network={arguments.network}", *overrides, *arguments.override], dtype
    network = [f"network={name}"] if name.startswith("deeplab") else ["network=deeplab_v3plus_timm", f"network.backbone.name={name}"]
    return [*network, "method=erm", *ORDER], torch.float32


def prepare(name: str, arguments: argparse.Namespace) -> tuple[Any, torch.dtype]:
    """A variant's method after two iterations, in which buffers are made and stages compiled."""
    overrides, dtype = chosen(name, arguments)
    method = make_method(overrides, arguments.device)
    batch = make_batch(arguments.domains, arguments.images, arguments.size, arguments.device)
    for _ in range(2):
        method.step(batch, dtype)
    wait(method)
    return method, dtype


def operations(method: Any, batch: dict[str, dict[str, Any]], dtype: torch.dtype) -> float:
    """Floating point operations of one iteration."""
    with FlopCounterMode(display=False) as counter:
        method.step(batch, dtype)
    return float(counter.get_total_flops())


def peak_memory(name: str, arguments: argparse.Namespace) -> float:
    """Peak MiB of three iterations above what the process held before the first, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step_time", "--memory-of", name]
    for key in ("network", "domains", "images", "size", "threads", "device"):
        command += [f"--{key}", str(getattr(arguments, key))]
    command += [f"--override={override}" for override in arguments.override]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def measure_memory(arguments: argparse.Namespace) -> float:
    """The body of `peak_memory`'s process."""
    overrides, dtype = chosen(arguments.memory_of, arguments)
    method = make_method(overrides, arguments.device)
    batch = make_batch(arguments.domains, arguments.images, arguments.size, arguments.device)
    if arguments.device == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the peak so far, importing torch takes more than a small network
    before = resident_mib("VmRSS")
    for _ in range(3):
        method.step(batch, dtype)
    if arguments.device == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resident_mib("VmHWM") - before


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Times in turn, operations, then memory."""
    made = {name: prepare(name, arguments) for name in arguments.variants}
    batch = make_batch(arguments.domains, arguments.images, arguments.size, arguments.device)
    times = [{name: seconds(made[name][0], batch, made[name][1]) for name in made} for _ in range(arguments.rounds)]
    rates = {dtype: matmul_rate(arguments.device, dtype) for dtype in {dtype for _, dtype in made.values()}}
    rows = {}
    for name, (method, dtype) in made.items():
        row = {"seconds": statistics.median(t[name] for t in times), "peak_mib": peak_memory(name, arguments)}
        row |= {f"ratio_to_{key}": ratio(times, name, base) for key, base in BASE.items() if base in made}
        if "compile" not in name:  # what is compiled is not counted
            row["operations"] = operations(method, batch, dtype)
            row["share_of_matmul"] = row["operations"] / row["seconds"] / rates[dtype]
        rows[name] = row
    return about(settings(arguments)) | {"matmul": {str(dtype): rate for dtype, rate in rates.items()}, "methods": rows}


def measure_networks(arguments: argparse.Namespace) -> dict[str, Any]:
    """Parameters, times in turn, then memory."""
    made = {name: prepare(name, arguments) for name in arguments.networks}
    batch = make_batch(arguments.domains, arguments.images, arguments.size, arguments.device)
    clock = time.process_time if arguments.device == "cpu" else time.perf_counter
    times = [{name: seconds(made[name][0], batch, made[name][1], clock) for name in made} for _ in range(arguments.rounds)]
    base, rows = arguments.networks[0], {}
    for name, (method, _) in made.items():
        rows[name] = {"seconds": statistics.median(t[name] for t in times), "ratio": ratio(times, name, base)}
        for part, module in (("network", method.network), ("backbone", method.network.backbone)):
            rows[name][f"{part}_parameters"] = sum(parameter.numel() for parameter in module.parameters())
    del made, method
    for name, row in rows.items():
        row["peak_mib"] = peak_memory(name, arguments)
    return about(settings(arguments)) | {"networks": rows}


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a result was measured with."""
    return {key: value for key, value in vars(arguments).items() if key not in ("memory_of", "output")}


def markdown(result: dict[str, Any]) -> str:
    """The result as a table."""
    s = result["settings"]
    images = s["domains"] * s["images"]
    rates = ", ".join(f"{rate / 1e9:.0f} GFLOP/s ({dtype.removeprefix('torch.')})" for dtype, rate in sorted(result["matmul"].items()))
    lines = [
        f"{s['network']}, {s['domains']} domains x {s['images']} images x {s['size']} px; {headline(result)}; medians of {s['rounds']}"
        f" rounds. Matrix products of 2048: {rates}.",
        "",
        "| variant | s / iteration | images / s | ratio to erm (min-max) | ratio to plain (min-max) | TFLOP | of matmul | peak MiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["methods"].items():
        ratios = " | ".join(_ratio(row.get(f"ratio_to_{key}")) for key in BASE)
        work = f"{row['operations'] / 1e12:.2f} | {row['share_of_matmul']:.0%}" if "operations" in row else "- | -"
        lines.append(f"| {name} | {row['seconds']:.2f} | {images / row['seconds']:.2f} | {ratios} | {work} | {row['peak_mib']:.0f} |")
    return "\n".join(lines) + "\n"


def networks_markdown(result: dict[str, Any]) -> str:
    """The comparison of networks as a table."""
    s, rows = result["settings"], result["networks"]
    base = next(iter(rows))
    lines = [
        f"erm, float32, channels_last, {s['domains']} domains x {s['images']} images x {s['size']} px; {headline(result)}; processor time"
        f" on a CPU, medians of {s['rounds']} rounds.",
        "",
        f"| network | parameters, million | of the backbone | s / iteration | of {base} (min-max) | peak MiB | of {base} |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        sizes = " | ".join(f"{row[f'{part}_parameters'] / 1e6:.1f}" for part in ("network", "backbone"))
        memory = f"{row['peak_mib']:.0f} | {row['peak_mib'] / rows[base]['peak_mib']:.2f}"
        lines.append(f"| {name} | {sizes} | {row['seconds']:.2f} | {_ratio(row['ratio'])} | {memory} |")
    return "\n".join(lines) + "\n"


def _ratio(found: dict[str, float] | None) -> str:
    return f"{found['median']:.2f} ({found['min']:.2f}-{found['max']:.2f})" if found else "-"


def main() -> None:
    """Parse the options, measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("domains", 2), ("images", 2), ("size", 256), ("threads", 2), ("rounds", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--override", action="append", default=[], help="a setting of all variants, as on the command line")
    parser.add_argument("--network", default="deeplab_v3plus_resnet50")
    parser.add_argument("--variants", type=lambda text: text.split(","), default=DEFAULT, help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--networks", nargs="?", const=NETWORKS, help="compare these, or the ten of docs/performance_training.md")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.variants) - set(VARIANTS):
        parser.error(f"unknown variants: {', '.join(sorted(unknown))}; choose from {', '.join(VARIANTS)}")
    torch.set_num_threads(arguments.threads)
    if arguments.memory_of:
        print(measure_memory(arguments))
        return
    if arguments.networks:
        arguments.networks = arguments.networks.split(",")
        result = measure_networks(arguments)
        write(result, networks_markdown(result), arguments.output, "step_time_networks")
        return
    result = measure(arguments)
    write(result, markdown(result), arguments.output, f"step_time_{arguments.network}")


if __name__ == "__main__":
    main()
