"""Names of devices, what a processor can do, and how much memory was used."""

import platform
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pin_memory.utils.errors import ConfigurationError

if TYPE_CHECKING:
    import torch

_PROCESS = Path("/proc/self")  # of Linux


def choose_device(device: str) -> str:
    """Turn `auto` into `cuda` where there is a GPU or else `cpu`, and refuse a device that is not there."""
    import torch  # only here, as commands import this module before they start

    refuse_other_words(device)
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigurationError(f"device={device}: PyTorch finds {torch.cuda.device_count()} GPUs here. Choose device=auto or device=cpu.")
    return device


def refuse_other_words(device: str) -> None:
    """Refuse what is no name of a device, here or elsewhere."""
    if not re.fullmatch(r"auto|(cpu|cuda)(:\d+)?", str(device)):
        raise ConfigurationError(f"device={device}: expected auto, cpu, cuda or cuda:NUMBER.")


def computes_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 (on x86 AVX512_BF16 or AMX); True where PyTorch cannot know."""
    import torch

    known = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    return platform.machine().lower() not in ("x86_64", "amd64") or any(ask is None or ask() for ask in known)


def forget_peak(device: "torch.device") -> None:
    """Let the peak of `peak_bytes` begin anew, where the system can: on a GPU, and on Linux."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):
        (_PROCESS / "clear_refs").write_text("5")


def peak_bytes(device: "torch.device") -> int | None:
    """The most bytes allocated on a GPU since `forget_peak`, or else resident in this process; None where the system has no number."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", (_PROCESS / "status").read_text()):
            return int(found[1]) * 1024
    try:
        import resource  # not on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
