"""Damage, made from a seed: bytes that are cut, flipped, wiped or put in, and values of documents that are exchanged."""

import copy
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]


def cut(content: bytes, draw: random.Random) -> bytes:
    """A download that broke off: 2 to 95 % are there."""
    return content[: max(1, int(len(content) * draw.uniform(0.02, 0.95)))]


def flip(content: bytes, draw: random.Random) -> bytes:
    """One to twenty bits turned over."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 20)):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_head(content: bytes, draw: random.Random) -> bytes:
    """Some of the first 64 bytes exchanged, where sizes and kinds are written."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 6)):
        changed[draw.randrange(min(64, len(changed)))] = draw.randrange(256)
    return bytes(changed)


def wipe(content: bytes, draw: random.Random) -> bytes:
    """A block of zeros, as a crashed file system leaves it."""
    start = draw.randrange(len(content))
    length = draw.randint(1, max(1, len(content) // 3))
    return (content[:start] + bytes(length) + content[start + length :])[: len(content)]


def insert(content: bytes, draw: random.Random) -> bytes:
    """Bytes put in, as a transfer in text mode does."""
    start = draw.randrange(len(content))
    return content[:start] + draw.randbytes(draw.randint(1, 64)) + content[start:]


def remove(content: bytes, draw: random.Random) -> bytes:
    """Bytes left out in the middle."""
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 64) :] or b"\0"


def noise(content: bytes, draw: random.Random) -> bytes:
    """Random bytes of the same length."""
    return draw.randbytes(len(content))


def empty(content: bytes, draw: random.Random) -> bytes:
    """Nothing."""
    return b""


def zeros(content: bytes, draw: random.Random) -> bytes:
    """Zeros of the same length, as a preallocated file that was never written."""
    return bytes(len(content))


def web_page(content: bytes, draw: random.Random) -> bytes:
    """What a server says in place of a file."""
    return b"<!DOCTYPE html><html><head><title>403 Forbidden</title></head><body>Log in first.</body></html>\n"


BYTES: dict[str, Damage] = {
    function.__name__: function for function in (cut, flip, flip_head, wipe, insert, remove, noise, empty, zeros, web_page)
}
"""All of them by name."""
NEVER_WHOLE = ("cut", "noise", "empty", "zeros", "web_page")
"""Those after which nothing must pass for intact."""


def png_claiming(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """A PNG of a few bytes whose head, with a right checksum, claims any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**30, 1.5, -1e308, float("nan"), float("inf"), "", "x", "../../etc/passwd", "\0", "9" * 50, [], [[]], {},
    {"a": 1}, [1, "a", None],
)  # fmt: skip
"""Values that stand where others are expected."""


def places(document: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value of a nested document."""
    inner = document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    return [place, *(found for key, value in inner for found in places(value, (*place, key)))]


def exchanged(document: Any, draw: random.Random, values: tuple[Any, ...] = ODD_VALUES) -> tuple[Any, str]:
    """A copy with one value exchanged or left out, and what was done."""
    changed = copy.deepcopy(document)
    place = draw.choice(places(changed)[1:])
    holder = changed
    for key in place[:-1]:
        holder = holder[key]
    name = ".".join(map(str, place))
    if draw.random() < 0.25:
        del holder[place[-1]]
        return changed, f"without {name}"
    value = draw.choice(values)
    holder[place[-1]] = copy.deepcopy(value)
    return changed, f"{name}={value!r}"


def write(path: Path, content: bytes) -> Path:
    """Write a file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
