"""What of the machine does not suffice, memory, processes, files or the disk, and the message for each."""

import errno
import os
import re
import traceback
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

_ELSEWHERE = "choose another folder for what is written (paths.output=DIR; output=DIR where the command has that setting)"
_WRITING = {
    errno.ENOSPC: ("the disk is full", "Free some space"),
    errno.EDQUOT: ("your disk quota is used up", "Free some space"),
    errno.EROFS: ("the file system is read-only", "Mount it writable"),
    errno.EEXIST: ("a file of this name is in the way", "Move that file"),
}
_READING_OR_WRITING = {
    errno.EACCES: ("you have no permission", "Change the permissions"),
    errno.EPERM: ("the operation is not permitted", "Change the permissions"),
    errno.ENOTDIR: ("a part of this path is a file, not a folder", "Move that file"),
    errno.ENAMETOOLONG: ("a name in it is too long", "Shorten it"),
}
_CALLS_THAT_WRITE = {
    "atomic_write", "write_text", "write_bytes", "mkdir", "makedirs", "touch", "rename", "replace", "unlink", "rmdir", "rmtree",
    "symlink_to", "begin", "_open", "_mkstemp_inner", "save", "savez", "imwrite", "exclusive", "report_write_errors",
}  # fmt: skip
"""Functions of Python's, logging's and this library's, by name, that an error on the way to a written file passes through."""
_IN_TRAINING = "In training lower loading.batch_size or augmentation.crop_size"
_RESOURCES = (
    (
        r"OutOfMemoryError|CUDA out of memory|CUDA error: out of memory|HIP out of memory|STATUS_ALLOC_FAILED",
        "The GPU's memory does not suffice",
        f"{_IN_TRAINING}, or save memory with trainer.precision=bf16-mixed or network.backbone.checkpointing=true. In evaluation and"
        " prediction process less at once: loading.evaluation_batch_size=1, batch_size=1, protocol=sliding_768.",
    ),
    (
        r"(out of|unable to open|unable to allocate) shared memory|</torch_|/dev/shm",
        "The shared memory does not suffice",
        "Loading processes pass their images on through /dev/shm: make it larger (docker run --shm-size=8g or --ipc=host), or lower"
        " loading.num_workers or loading.batch_size.",
    ),
    (
        r"DataLoader worker \(pid(\(s\))? [\d, ]+\) (exited unexpectedly|is killed by signal)",
        "A loading process ended without a message",
        "Most often the machine ran out of memory and its kernel killed the process (`dmesg` shows it): lower loading.num_workers,"
        " loading.batch_size or augmentation.crop_size. With loading.num_workers=0 everything is loaded in the process itself, whose"
        " message says what is wrong. A file that crashes the decoder shows the same way: `pin-memory check deep=true` finds it.",
    ),
    (
        r"MemoryError|[Cc]an(not|'t) allocate memory|not enough memory|std::bad_alloc|Insufficient memory",
        "The memory of this machine does not suffice",
        f"{_IN_TRAINING}, and loading.num_workers (each loading process holds images of its own); close other programs, or ask the cluster"
        " for more memory. In prediction lower batch_size and workers.",
    ),
    (
        r"Too many open files|received 0 items of ancdata",
        "Too many files are open",
        "Allow more of them (ulimit -n 65536) or lower loading.num_workers.",
    ),
    (
        r"can't start new thread|Resource temporarily unavailable",
        "No further process or thread can be started",
        "Lower loading.num_workers, or allow more (ulimit -u).",
    ),
)


def text_of(error: BaseException) -> str:
    """The message alone, where a data loader's worker has put its traceback into the text."""
    text = str(error)
    if not text.startswith("Caught "):
        return text
    starts = list(re.finditer(rf"^(?:\w+\.)*{type(error).__name__}: ", text, re.MULTILINE))
    return text[starts[-1].end() :].rstrip() if starts else text


def resource(error: BaseException) -> str | None:
    """What ran out, and which settings to lower."""
    if not isinstance(error, RuntimeError | OSError | MemoryError) and not type(error).__module__.startswith("cv2"):
        return None
    text = " ".join(f"{type(error).__name__}: {text_of(error)}".split())
    for pattern, reason, advice in _RESOURCES:
        if re.search(pattern, text):
            training = HydraConfig.initialized() and HydraConfig.get().job.config_name == "train"
            resume = "\nA checkpoint that was written before is intact; resume=RUN continues from it." if training else ""
            return f"{reason} ({text[:300]}).\n{advice}{resume}"
    return None


def storage(error: BaseException) -> str | None:
    """A disk that is full, or a path that cannot be used."""
    text = text_of(error)
    if isinstance(error, RuntimeError) and "inline_container.cc" in text and ("unexpected pos" in text or "failed writing" in text):
        return f"A checkpoint cannot be written; most likely the disk is full. Free some space or {_ELSEWHERE}."
    if not isinstance(error, OSError):
        return None
    in_text = re.match(r"\[Errno (\d+)\]", text)  # a worker's copy of an OSError carries its number only in the text
    number, path = error.errno or (int(in_text[1]) if in_text else 0), error.filename2 or error.filename
    calls = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    if number == errno.ENOENT and calls[-1:] in (["mkdir"], ["makedirs"]):  # else it may be a defect
        return f"Cannot make the folder {path}: no folder can be made there. Please {_ELSEWHERE}."
    if number in _WRITING:
        reason, advice = _WRITING[number]
        return f"Cannot write {path or f'a file ({text})'}: {reason}. {advice} or {_ELSEWHERE}."
    if number not in _READING_OR_WRITING:
        return None
    reason, advice = _READING_OR_WRITING[number]
    if _was_writing(error):
        return f"Cannot write {path or f'a file ({text})'}: {reason}. {advice} or {_ELSEWHERE}."
    if path and number in (errno.EACCES, errno.EPERM):  # of a file that is not seen, the nearest folder above it is what could not be read
        place = Path(os.fsdecode(path))
        there = next((one for one in (place, *place.parents) if os.path.lexists(one)), place)
        refused = not os.access(there, os.R_OK | (os.X_OK if there.is_dir() else 0))  # as root or over a network this need not be so
        reason += f" to read {there if refused else place}"
    return f"Cannot read {path or f'a file ({text})'}: {reason}. {advice}, or name another place (paths.data=DIR for data sets)."


def _was_writing(error: BaseException) -> bool:
    """Whether an error of the file system came from a call that makes, writes, moves or removes a file; all others read."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        name, mode = frame.f_code.co_name, frame.f_locals.get("mode")
        if name in _CALLS_THAT_WRITE or (name == "open" and isinstance(mode, str) and set("wax+") & set(mode)):
            return True
    return False
