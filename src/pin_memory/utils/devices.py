"""Names of devices, and what a processor can do."""

import platform

from pin_memory.utils.errors import ConfigurationError


def choose_device(device: str) -> str:
    """Turn `auto` into `cuda` where there is a GPU or else `cpu`, and refuse a device that is not there."""
    import torch  # only here, as commands import this module before they start

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = str(device).partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()):
        raise ConfigurationError(f"device={device}: expected auto, cpu, cuda or cuda:NUMBER.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ConfigurationError(f"device={device}: PyTorch finds {torch.cuda.device_count()} GPUs here. Choose device=auto or device=cpu.")
    return device


def computes_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 (on x86 AVX512_BF16 or AMX); True where PyTorch cannot know."""
    import torch

    known = [getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")]
    return platform.machine().lower() not in ("x86_64", "amd64") or any(ask is None or ask() for ask in known)
