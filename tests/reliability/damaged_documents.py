"""Damaged JSON, split lists, YAML, settings and run folders, and what reads them."""

import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat

from pin_memory.domains.readers.folder import FolderDomain
from pin_memory.domains.readers.idd import read_polygons
from pin_memory.domains.readers.mapillary import V1_2, check_config
from pin_memory.domains.readers.wilddash import WildDash
from pin_memory.runs.folder import RunFolder
from pin_memory.runs.results import Results
from tests.reliability import mutations
from tests.reliability.cases import TOLD, VALID, Case, Originals
from tests.reliability.damaged_pictures import SIDE, encoded, pairs, require_map, scene

_POLYGONS = {
    "imgWidth": 64, "imgHeight": 40,
    "objects": [{"label": label, "polygon": [[0, 0], [50, 3], [20.5, 39]], "deleted": 0} for label in ("road", "sky", "cargroup")],
}  # fmt: skip
_PANOPTIC = {
    "annotations": [
        {"file_name": f"{n}.png", "segments_info": [{"id": 3 + n, "category_id": 7}, {"id": 70000, "category_id": 23}]} for n in (0, 1)
    ]
}
_MAPILLARY = {"labels": [{"name": name, "readable": name} for name in V1_2]}


def _wilddash(folder: Path) -> str:
    for number in (0, 1):
        codes = np.full((SIDE, SIDE, 3), 0, np.uint8)
        codes[..., 2] = 3 + number
        mutations.write(folder / "images" / f"{number}.jpg", encoded(".jpg", scene(number)))
        mutations.write(folder / "panoptic" / f"{number}.png", encoded(".png", codes))
    domain = WildDash(folder, "test")
    for sample in domain.samples:
        require_map(domain.read_label(sample))
    return VALID


def _json(number: int) -> Case:
    way = number % 3
    structural = number % 2 == 0
    damage = "value" if structural else list(mutations.BYTES)[number // 2 % len(mutations.BYTES)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        document = (_POLYGONS, _PANOPTIC, _MAPILLARY)[way]
        if structural:
            content = json.dumps(mutations.exchanged(document, draw)[0]).encode()
        else:
            content = mutations.BYTES[damage](json.dumps(document).encode(), draw)
        path = mutations.write(folder / ("panoptic.json" if way == 1 else "file.json"), content)
        readers: tuple[Callable[[], str], ...] = (
            lambda: require_map(read_polygons(path)), lambda: _wilddash(folder), lambda: check_config(path, "v1.2") or VALID,
        )  # fmt: skip
        return readers[way], not structural and damage in mutations.NEVER_WHOLE

    return Case("JSON of polygons and classes", number, damage, make)


def _odd_json(number: int) -> Case:
    kinds: dict[str, str] = {
        "deep": "[" * 200_000, "deep objects": '{"a":' * 200_000, "huge number": '{"imgWidth": ' + "9" * 5000 + "}",
        "60000x60000": '{"imgWidth": 60000, "imgHeight": 60000, "objects": []}', "nan": '{"imgWidth": NaN, "imgHeight": 4, "objects": []}',
        "far away": '{"imgWidth": 40, "imgHeight": 40, "objects": [{"label": "road", "polygon": [[-1e300, 0], [1e300, 9], [3, 1e300]]}]}',
        "not a list": '{"imgWidth": 40, "imgHeight": 40, "objects": {"label": 1}}', "null": "null", "number": "7", "utf-16": "{}",
    }  # fmt: skip
    damage = list(kinds)[number % len(kinds)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        path = folder / "file.json"
        mutations.write(path, kinds[damage].encode("utf-16" if damage == "utf-16" else "utf-8"))
        return lambda: require_map(read_polygons(path)), damage not in ("far away",)

    return Case("JSON of polygons and classes", 1000 + number, damage.replace(" ", "_"), make)


_LINES = (
    "../../../etc/passwd", "/etc/passwd", "..\\..\\windows\\system.ini", "images/../../0.png", "0.png\0.png", "~/0.png", "file:///etc/passwd",
    "http://127.0.0.1/0.png", "*", "$(touch PWNED)", "0.png " + "x" * 100_000, "\u202e0.png", "", "#", "nowhere", "0", "./0.png", "..",
)  # fmt: skip


def _list(number: int) -> Case:
    kind = number % 4
    damage = ("line", "bytes of text", "bytes of split.mat", "values of split.mat")[kind]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        root = pairs(folder / "own")
        lines = "0.png\n1.png\n2.png\n"
        if kind == 0:
            line = _LINES[number // 4 % len(_LINES)]
            content, suffix = (lines + line + "\n").encode(), ".txt"
            bad = Path(line.split()[0] if line.split() else "0").stem not in ("0", "#")  # folders in a list do not count
        elif kind == 1:
            content, suffix, bad = draw.choice(list(mutations.BYTES.values()))(lines.encode() * 20, draw), ".txt", False
        else:
            buffer = io.BytesIO()
            values: Any = draw.choice([[1, 2], [float("nan")], [1e300], ["x"], [], [-1], [[1, 2], [3, 4]]]) if kind == 3 else [1, 2, 3]
            with suppress(Exception):
                savemat(buffer, {"trainIds": np.array(values)})
            content, suffix, bad = buffer.getvalue() or b"MATLAB", ".mat", True  # numbers name no file here
            if kind == 2:
                content = draw.choice(list(mutations.BYTES.values()))(content, draw)
        path = mutations.write(folder / "lists" / f"train{suffix}", content)

        def read() -> str:
            domain = FolderDomain(root, "train", split_file={"train": path, "val": path})
            for sample in domain.samples:
                assert sample.image.resolve().is_relative_to(root.resolve())
                assert sample.label.resolve().is_relative_to(root.resolve())
            assert not (folder / "PWNED").exists()
            return VALID

        return read, bad

    return Case("split list", number, damage.replace(" ", "_"), make)


# --- run folders, YAML, settings


def _run_folder(number: int) -> Case:
    files = ("results.json", "metrics.csv", "config.yaml", "provenance.json", "tiles/index.json", ".hydra/overrides.yaml")
    file = files[number % len(files)]
    structural = file.endswith(".json") and number % 4 < 2
    damage = "value" if structural else list(mutations.BYTES)[number % len(mutations.BYTES)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        for name in files:
            if (given.run / name).is_file():
                mutations.write(folder / name, (given.run / name).read_bytes())
        content = (folder / file).read_bytes()
        if structural:
            content = json.dumps(mutations.exchanged(json.loads(content), draw)[0]).encode()
        else:
            content = mutations.BYTES[damage](content, draw)
        mutations.write(folder / file, content)

        def read() -> str:
            if file == "results.json" and number % 2:
                Results.read(folder / file)
                return VALID
            return TOLD if _unread(folder) else VALID

        return read, False

    return Case("results and logs of a run", number, f"{Path(file).stem}_{damage}", make)


def _unread(path: Path) -> list[str]:
    """What cannot be read of a run folder, once all of it was tried."""
    folder = RunFolder.read(path)
    for part in ("results", "config", "settings", "overrides", "choices", "config_directory", "provenance", "metrics", "trace", "tiles"):
        getattr(folder, part)
    return folder.unread


def _yaml(number: int) -> Case:
    kinds = {
        "object": "!!python/object/apply:os.system ['touch PWNED']", "tabs": "a:\n\t- b", "binary": "\x00\x01\x02",
        "no_mapping": "- a\n- b",
        "unknown_alias": "a: *b", "twice": "a: 1\na: 2", "date": "a: 2026-01-01", "long_number": "a: " + "9" * 5000,
    }  # fmt: skip
    damage = list(kinds)[number % len(kinds)]

    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        from tests.reliability.configurations import shown_with

        path = mutations.write(folder / "mine" / "experiment" / "own.yaml", f"# @package _global_\n{kinds[damage]}\n".encode())
        if number // len(kinds) % 2:
            mutations.write(folder / "run" / "config.yaml", kinds[damage].encode())
            mutations.write(folder / "run" / "metrics.csv", b"step,loss\n0,1\n")
            return lambda: TOLD if _unread(folder / "run") else VALID, False
        return lambda: shown_with(path.parents[1]), damage not in ("date", "binary")

    return Case("YAML of experiments and runs", number, damage, make)


def _configuration(number: int) -> Case:
    def make(folder: Path, draw: random.Random, given: Originals) -> tuple[Callable[[], str], bool]:
        from tests.reliability.configurations import checked_with, odd_override

        override = odd_override(draw)
        return lambda: checked_with(override, given.data, folder), False

    return Case("settings of an experiment", number, "odd_value", make)


def cases() -> Iterator[Case]:
    """All of this file."""
    yield from map(_json, range(60))
    yield from map(_odd_json, range(10))
    yield from map(_list, range(72))
    yield from map(_run_folder, range(48))
    yield from map(_yaml, range(16))
    yield from map(_configuration, range(90))
