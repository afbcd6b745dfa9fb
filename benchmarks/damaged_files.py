"""What decoders make of damaged files, compared with the library's reader; part of `benchmarks.decoders`."""

import os
import random
import tempfile
import zlib
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tests.reliability import mutations

DAMAGES = (mutations.cut, mutations.flip, mutations.wipe, mutations.insert, mutations.remove)
SIDE = 48

Decode = Callable[[Path], np.ndarray]


def compare(decoders: dict[str, Decode], today: Decode, picture: Path, copies: int) -> dict[str, str]:
    """In words, what decoders do otherwise than the library's reader with damaged copies of a corner of a picture; empty for nothing."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"corner{picture.suffix}"
        with Image.open(picture) as whole:
            whole.crop((0, 0, SIDE, SIDE)).save(file, quality=92)
        expected = _in_own_process(today, file, copies)
        assert expected is not None, "the library's reader ended its process"
        return {name: _words(_in_own_process(decode, file, copies), expected) for name, decode in decoders.items()}


def _in_own_process(decode: Decode, file: Path, copies: int) -> tuple[list[int], int] | None:
    """`outcomes`, or None if the process died of it."""
    context = get_context("fork")  # takes a closure along
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(outcomes(decode, file, copies)))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        return None
    finally:
        process.join()


def outcomes(decode: Decode, file: Path, copies: int) -> tuple[list[int], int]:
    """A number for each damaged copy, -1 if it was refused, else a checksum of its pixels; and the lines that were printed meanwhile."""
    content, found = file.read_bytes(), []
    damaged = file.with_stem("damaged")
    with tempfile.TemporaryFile() as printed:
        os.dup2(printed.fileno(), 2)  # libraries write there past Python
        for number in range(copies):
            draw = random.Random(number)
            damaged.write_bytes(DAMAGES[number % len(DAMAGES)](content, draw))
            try:
                found.append(zlib.crc32(np.ascontiguousarray(decode(damaged)).data))
            except Exception:  # whatever a decoder raises
                found.append(-1)
        printed.seek(0)
        return found, len(printed.readlines())


def _words(found: tuple[list[int], int] | None, expected: tuple[list[int], int]) -> str:
    """How outcomes differ from those of the library's reader."""
    if found is None:
        return "the process died"
    pairs = list(zip(found[0], expected[0], strict=True))
    counts = {
        "accepted": sum(one >= 0 > other for one, other in pairs),
        "refused": sum(one < 0 <= other for one, other in pairs),
        "other pixels": sum(min(pair) >= 0 and pair[0] != pair[1] for pair in pairs),
        "lines printed": found[1],
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)
