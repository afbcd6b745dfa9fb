"""What to say when memory, shared memory, processes or open files run out, and which settings to lower."""

import errno
import re

from hydra.core.hydra_config import HydraConfig

from pin_memory.utils.errors import ResourceError

EXIT_CODE = ResourceError.exit_code

_IN_TRAINING = "In training lower loading.batch_size or augmentation.crop_size"
_GPU_ADVICE = (
    f"{_IN_TRAINING}, or save memory with trainer.precision=bf16-mixed or network.backbone.checkpointing=true."
    " In evaluation and prediction look at less at once: loading.evaluation_batch_size=1, batch_size=1, protocol=sliding_768."
)
_HOST_ADVICE = (
    f"{_IN_TRAINING}, and loading.num_workers (each loading process holds images of its own); close other programs, or ask the cluster for"
    " more memory. In prediction lower batch_size and workers."
)
_WORKER_ADVICE = (
    "Most often the machine ran out of memory and its kernel killed the process (`dmesg` tells): lower loading.num_workers,"
    " loading.batch_size or augmentation.crop_size. With loading.num_workers=0 everything is loaded in the process itself, whose message"
    " says what is wrong. A file that crashes the decoder shows the same way: `pin-memory check deep=true` finds it."
)
_SHARED_ADVICE = (
    "Loading processes hand their images over in /dev/shm: make it larger (docker run --shm-size=8g or --ipc=host), or lower"
    " loading.num_workers or loading.batch_size."
)
_FILES_ADVICE = "Allow more of them (ulimit -n 65536) or lower loading.num_workers."
_GOES_ON = "A checkpoint that was written before is whole; resume=RUN goes on from it."

_DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) (?:exited unexpectedly|is killed by signal: [^.]*)")
_SHARED = ("out of shared memory", "unable to open shared memory object", "unable to allocate shared memory", "</torch_", "/dev/shm")
_GPU = ("CUDA out of memory", "CUDA error: out of memory", "HIP out of memory", "STATUS_ALLOC_FAILED")
_HOST = ("can't allocate memory", "not enough memory", "Cannot allocate memory", "std::bad_alloc", "Insufficient memory")
_MANY_FILES = ("Too many open files", "received 0 items of ancdata")
_PROCESSES = ("can't start new thread",)


def exhausted(error: BaseException, text: str) -> str | None:
    """Say that something ran out.

    Args:
        error: One link of a chain of exceptions.
        text: Its message, without the traceback of another process.

    Returns:
        What ran out and what to lower; None where the exception is about something else.
    """
    said = _what(error, text)
    return f"{said}\n{_GOES_ON}" if said and _in_training() else said


def _in_training() -> bool:
    """Whether the command that runs is one that saves checkpoints."""
    return HydraConfig.initialized() and HydraConfig.get().job.config_name == "train"


def _what(error: BaseException, text: str) -> str | None:
    first = " ".join(text.split())
    first = first[:300] + ("..." if len(first) > 300 else "")
    ours = isinstance(error, (RuntimeError, OSError, MemoryError)) or type(error).__module__.startswith("cv2")
    if not ours:
        return None
    if type(error).__name__ == "OutOfMemoryError" or any(mark in text for mark in _GPU):  # by name, to import torch nowhere
        return f"The GPU's memory does not suffice ({first}).\n{_GPU_ADVICE}"
    if any(mark in text for mark in _SHARED):
        return f"The shared memory does not suffice ({first}).\n{_SHARED_ADVICE}"
    if dead := _DEAD_WORKER.search(text):
        return f"A loading process ended without a word: {dead[0]}.\n{_WORKER_ADVICE}"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, MemoryError) or number == errno.ENOMEM or any(mark in text for mark in _HOST):
        return f"The memory of this machine does not suffice ({first or type(error).__name__}).\n{_HOST_ADVICE}"
    if number in (errno.EMFILE, errno.ENFILE) or any(mark in text for mark in _MANY_FILES):
        return f"Too many files are open ({first}).\n{_FILES_ADVICE}"
    if number == errno.EAGAIN or any(mark in text for mark in _PROCESSES):
        return f"No further process or thread can be started ({first}).\nLower loading.num_workers, or allow more (ulimit -u)."
    return None
