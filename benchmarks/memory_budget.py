"""What one training iteration holds in memory at its peak, counted without a device.

    python -m benchmarks.memory_budget [--network deeplab_v3plus_resnet50 --domains 3 --images 4 --size 768 --precision bf16]
                                       [--checkpointing] [--override +adapter=lora ...] [--measure] [--output DIR]

The outer loss of Pin the Memory on the larger possible side of the split (all domains but one) is run on tensors without data, and the
tensors that autograd keeps for its backward pass are added up; to them come weights, the optimiser's state, both gradients and the fast
weights, of what learns. What operations need for themselves for a moment (workspaces of convolutions, the gradient on its way) is not in
it. `--measure` runs one such iteration on the CPU as well and prints both: choose a size that fits. Writes `memory_budget.json` and
`memory_budget.md`.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.stepping import about, make_batch, make_method, resident_mib, write
from pin_memory.methods.batches import Labelled, merge

GIB = 2**30


def overrides(arguments: argparse.Namespace) -> list[str]:
    """What the options stand for on the command line."""
    checkpointing = f"network.backbone.checkpointing={str(arguments.checkpointing).lower()}"
    return [f"network={arguments.network}", "method=pin_the_memory", checkpointing, *arguments.override]


def count(arguments: argparse.Namespace) -> dict[str, float]:
    """GiB of what is held when the backward pass of the outer loss begins, by kind."""
    with torch.device("meta"):  # timm reads numbers off tensors while it builds, which those without data have not
        method = make_method(overrides(arguments), "cpu")
    with FakeTensorMode(allow_non_fake_inputs=True):
        method.to_empty(device="cpu")
        side = (arguments.domains - 1) * arguments.images
        part = Labelled(torch.empty(side, 3, arguments.size, arguments.size), torch.zeros(side, *2 * [arguments.size], dtype=torch.int64))
        weights = sum(p.numel() * p.element_size() for p in method.parameters())
        learned = sum(p.numel() * p.element_size() for p in method.parameters() if p.requires_grad)
        activations = kept(method, part, arguments.precision == "bf16")
    images = arguments.domains * arguments.images * (3 * 4 + 8) * arguments.size**2
    state = learned * (2 if "optimizer=adamw" in arguments.override else 1)  # two moments, or the momentum of SGD
    held = {"weights": weights, "optimiser": state, "inner gradient": learned, "fast weights": learned, "outer gradient": learned}
    return {name: value / GIB for name, value in {**held, "images and labels": images, "kept for backward": activations}.items()}


def kept(method: nn.Module, part: Labelled, half: bool) -> int:
    """Bytes of the distinct tensors besides parameters that autograd keeps of one loss."""
    storages: dict[int, int] = {}
    parameters = {id(p.untyped_storage()._cdata) for p in method.parameters()}
    alive = []

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter) and id(tensor.untyped_storage()._cdata) not in parameters:
            storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
            alive.append(tensor)  # so that no other storage gets the same number
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", torch.bfloat16, enabled=half):
        method.reading_and_update_loss(part)  # type: ignore[operator]
    return sum(storages.values())


def measured(arguments: argparse.Namespace) -> float:
    """Peak GiB of two iterations on the CPU, in a process of its own, the network's weights and images included."""
    options = [f"--{key}={getattr(arguments, key)}" for key in ("network", "domains", "images", "size", "precision")]
    command = [sys.executable, "-m", "benchmarks.memory_budget", "--in-process", *options]
    command += ["--checkpointing"] * arguments.checkpointing + [f"--override={override}" for override in arguments.override]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def in_process(arguments: argparse.Namespace) -> float:
    """The body of `measured`'s process. The split is fixed so that the meta-test side is the larger one."""
    before = resident_mib("VmRSS")
    method = make_method(overrides(arguments), "cpu")
    method.split.meta_test = [f"domain{index}" for index in range(1, arguments.domains)]
    batch = make_batch(arguments.domains, arguments.images, arguments.size, "cpu")
    merge(batch)
    for _ in range(2):
        method.step(batch, torch.bfloat16 if arguments.precision == "bf16" else torch.float32)
    return (resident_mib("VmHWM") - before) / 1024


def markdown(result: dict[str, Any]) -> str:
    """The budget as a table."""
    s, held = result["settings"], result["gib"]
    lines = [
        f"{s['network']}, {s['domains']} domains x {s['images']} images x {s['size']} px, {s['precision']},"
        f" checkpointing {'on' if s['checkpointing'] else 'off'}; counted with torch {result['provenance']['packages']['torch']},"
        f" {result['provenance']['date'][:10]}.",
        "",
        "| held at the peak | GiB |",
        "|---|---|",
        *(f"| {name} | {value:.2f} |" for name, value in held.items()),
        f"| together | {sum(held.values()):.2f} |",
    ]
    if result["measured_gib"] is not None:
        lines.append(f"| measured on the CPU | {result['measured_gib']:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Parse the options, count, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("domains", 3), ("images", 4), ("size", 768)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--network", default="deeplab_v3plus_resnet50")
    parser.add_argument("--precision", choices=("bf16", "float32"), default="bf16")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--override", action="append", default=[], help="a further setting, as on the command line")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--in-process", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.in_process:
        print(in_process(arguments))
        return
    settings = {key: value for key, value in vars(arguments).items() if key not in ("in_process", "measure", "output")}
    result = about(settings) | {"gib": count(arguments), "measured_gib": measured(arguments) if arguments.measure else None}
    write(result, markdown(result), arguments.output, "memory_budget")


if __name__ == "__main__":
    main()
