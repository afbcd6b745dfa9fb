import os
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pin_memory.domains import GTAV, GTAVDataModule, Loading, TrainTransform
from pin_memory.domains.loading.class_statistics import (
    class_counts,
    class_shares,
    fingerprint,
    images_with,
    rare_class_probabilities,
    store_counts,
    stored_counts,
)
from pin_memory.utils.errors import ConfigurationError, DataError
from tests.domains.readers.domain_cases import cut, write_image, write_palette

WIDTH = 20
IDS = {"road": 7, "sky": 23, "car": 26, "void": 0}


def write(root: Path, number: int, **rows: int) -> None:
    """A GTAV frame whose label has so many rows of each."""
    raw = np.repeat(np.array([IDS[name] for name in rows], np.uint8), list(rows.values()))
    write_palette(root / f"labels/{number:05}.png", np.tile(raw[:, None], (1, WIDTH)))
    write_image(root / f"images/{number:05}.png", len(raw), WIDTH, number)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten frames, of which the reader takes the last fifth for validation."""
    folder = tmp_path / "data"
    for number in range(1, 11):
        write(folder, number, road=6, sky=3 if number != 4 else 1, **({"car": 2} if number == 4 else {}), void=1)
    return folder


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the labels that are decoded."""
    seen: Counter[str] = Counter()
    read = GTAV.read_raw_label

    def count(self: GTAV, path: Path) -> np.ndarray:
        seen[path.name] += 1
        return read(self, path)

    monkeypatch.setattr(GTAV, "read_raw_label", count)
    return seen


def test_pixels_are_counted_by_class_and_image(root: Path) -> None:
    counts = class_counts(GTAV(root, "train"), workers=0)
    assert counts.shape == (8, 20)
    assert counts.sum() == 8 * 10 * WIDTH
    expected = np.zeros(20, np.int64)
    expected[[0, 10, 19]] = [6 * WIDTH, 3 * WIDTH, WIDTH]  # road, sky, ignored
    np.testing.assert_array_equal(counts[0], expected)
    expected[[10, 13]] = [WIDTH, 2 * WIDTH]  # car
    np.testing.assert_array_equal(counts[3], expected)


def test_several_processes_count_the_same(root: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    alone = class_counts(GTAV(root, "train"), workers=0)
    next(cache.rglob("*.npz")).unlink()
    np.testing.assert_array_equal(class_counts(GTAV(root, "train"), workers=2), alone)


def test_labels_are_counted_once(root: Path, decoded: Counter[str], cache: Path) -> None:
    first = class_counts(GTAV(root, "train"), workers=0)
    assert sum(decoded.values()) == 8
    np.testing.assert_array_equal(class_counts(GTAV(root, "train"), workers=0), first)
    assert sum(decoded.values()) == 8
    # Another split is another list of files.
    class_counts(GTAV(root, "val"), workers=0)
    assert sum(decoded.values()) == 10
    assert {path.parent for path in cache.rglob("*.npz")} == {cache / "statistics"}


def test_a_moved_data_set_keeps_its_counts(root: Path, decoded: Counter[str]) -> None:
    first = class_counts(GTAV(root, "train"), workers=0)
    root.rename(root.with_name("elsewhere"))
    np.testing.assert_array_equal(class_counts(GTAV(root.with_name("elsewhere"), "train"), workers=0), first)
    assert sum(decoded.values()) == 8


@pytest.mark.parametrize("change", ["time", "length", "name", "table", "encoding"])
def test_what_changes_the_counts_changes_the_fingerprint(root: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(GTAV(root, "train"))
    label = root / "labels/00002.png"
    domain = GTAV(root, "train")
    if change == "time":
        os.utime(label, ns=(1, 1))
    elif change == "length":
        times = label.stat()
        label.write_bytes(label.read_bytes() + b"0")
        os.utime(label, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "name":
        for folder in ("images", "labels"):
            (root / folder / "00002.png").rename(root / folder / "00011.png")
        domain = GTAV(root, "train")
    elif change == "table":
        domain.table = domain.table.copy()
        domain.table[8] = 0
    else:
        object.__setattr__(domain.found, "layout", type(domain.layout)("other", "images", "labels", "", "", encoding="other"))
    assert fingerprint(domain) != before
    assert fingerprint(GTAV(root, "val")) != before


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", None])
def test_a_damaged_cache_is_made_anew(root: Path, cache: Path, damage: bytes | None) -> None:
    domain = GTAV(root, "train")
    counts = class_counts(domain, workers=0)
    (path,) = cache.rglob("*.npz")
    if damage is None:
        cut(path)
    else:
        path.write_bytes(damage)
    assert stored_counts(domain) is None
    np.testing.assert_array_equal(class_counts(domain, workers=0), counts)
    np.testing.assert_array_equal(stored_counts(domain), counts)


def test_a_cache_that_cannot_be_written_is_said(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PIN_MEMORY_CACHE", str(tmp_path / "file"))
    domain = GTAV(root, "train")
    store_counts(domain, np.zeros((8, 20), np.int64))
    assert "cannot be kept" in caplog.text
    assert class_counts(domain, workers=0).shape == (8, 20)


def test_a_damaged_label_is_named(root: Path) -> None:
    cut(root / "labels/00003.png")
    with pytest.raises(DataError, match=r"00003\.png"):
        class_counts(GTAV(root, "train"), workers=0)


def test_a_label_behind_a_broken_link(root: Path, decoded: Counter[str], cache: Path) -> None:
    """There are no counts of it, and it is said before the others are decoded."""
    counts = class_counts(GTAV(root, "train"), workers=0)
    label = root / "labels/00003.png"
    label.unlink()
    label.symlink_to(root / "gone.png")
    decoded.clear()
    domain, kept = GTAV(root, "train"), list(cache.rglob("*.npz"))
    assert len(domain) == 8
    assert stored_counts(domain) is None
    store_counts(domain, counts)
    assert list(cache.rglob("*.npz")) == kept
    with pytest.raises(DataError, match=r"00003\.png: cannot be read"):
        class_counts(domain, workers=0)
    assert not decoded


def test_shares_are_of_the_labelled_pixels() -> None:
    np.testing.assert_allclose(class_shares(np.array([[3, 0, 1, 96], [0, 0, 4, 0]])), [3 / 8, 0, 5 / 8])
    np.testing.assert_array_equal(class_shares(np.array([[0, 0, 9]])), [0, 0])


def test_rare_classes_are_preferred_as_in_the_paper() -> None:
    """Softmax of (1 - f) / T: with T = 0.5 and f = 0.7, 0.2, 0.1 the weights are e^0.6, e^1.6, e^1.8."""
    counts = np.array([[70, 20, 10, 0, 900]])
    weights = np.array([1.8221188, 4.9530324, 6.0496475])
    np.testing.assert_allclose(rare_class_probabilities(counts, 0.5), [*(weights / weights.sum()), 0], rtol=1e-6)
    cold = rare_class_probabilities(counts, 0.01)
    assert cold[2] > 0.9999
    assert cold[3] == 0
    with pytest.raises(ConfigurationError, match="rare_class"):
        rare_class_probabilities(np.array([[0, 0, 5]]), 0.01)


def test_images_that_show_a_class() -> None:
    counts = np.array([[50, 1, 0, 49], [0, 2, 0, 98], [90, 3, 0, 7]])
    found = images_with(counts, 0.02)
    assert [indices.tolist() for indices in found] == [[0, 2], [1, 2], []]
    # No image has half of the second class: all that have any of it count.
    assert [indices.tolist() for indices in images_with(counts, 0.5)] == [[0, 2], [0, 1, 2], []]


def test_training_sees_the_rare_class_more_often(root: Path) -> None:
    def drawn(sampling: str) -> list[int]:
        loading = Loading(2, 0, seed=3, sampling=sampling, rare_class_temperature=0.05)
        loader = GTAVDataModule(root, TrainTransform(16), loading).train_dataloader("gtav")
        assert next(iter(loader))["image"].shape == (2, 3, 16, 16)
        return [draw.index for draw in islice(loader.sampler, 40)]

    # Only frame 4 (index 3) has a car.
    assert drawn("uniform").count(3) == 5
    assert drawn("rare_class").count(3) > 25
