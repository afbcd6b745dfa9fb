"""Media for the W&B dashboard; what a real run logs is read back in tests/loggers."""

import sys
from pathlib import Path

import numpy as np
import pytest

from pin_memory.callbacks import WandbMedia
from pin_memory.callbacks.similarity_map import mean_similarity, shade, similarity, similarity_picture
from tests.helpers.fakes import TinyDomains, TinyMethod, tiny_trainer


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """By the definition, in loops."""
    dot = sum(float(a) * float(b) for a, b in zip(one, other, strict=True))
    lengths = [sum(float(a) ** 2 for a in vector) ** 0.5 for vector in (one, other)]
    return dot / (lengths[0] * lengths[1]) if all(lengths) else float("nan")


@pytest.fixture
def items() -> np.ndarray:
    """Five items, one of which is not written yet."""
    items = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    items[3] = 0
    return items


def test_similarity_is_the_cosine(items: np.ndarray) -> None:
    expected = np.array([[cosine(one, other) for other in items] for one in items])
    assert similarity(items) == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert similarity(np.stack([items, 2 * items]))[1] == pytest.approx(expected, nan_ok=True, abs=1e-9)


def test_the_mean_is_over_pairs_of_different_written_classes(items: np.ndarray) -> None:
    pairs = [cosine(items[i], items[j]) for i in (0, 1, 2, 4) for j in (0, 1, 2, 4) if i != j]
    assert mean_similarity(similarity(items)) == pytest.approx(sum(pairs) / len(pairs), abs=1e-9)
    assert np.isnan(mean_similarity(similarity(np.zeros((3, 4)))))


def test_colours_tell_signs_apart_and_missing_values() -> None:
    low, zero, high, missing = shade(np.array([-1, 0, 1, np.nan])).tolist()
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert min(zero) > 240
    assert len(set(missing)) == 1


def test_the_picture_has_room_for_long_names(items: np.ndarray) -> None:
    short, long = (similarity_picture(similarity(items), [name] * 5, "title") for name in ("a", "a very long name of a class"))
    assert long.shape[0] > short.shape[0]
    assert long.shape[1] > short.shape[1]
    assert (short[:, :, 0] == 178).any()  # the diagonal


def test_without_wandb_nothing_is_drawn_and_wandb_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import of it would fail
    trainer = tiny_trainer(tmp_path, [WandbMedia()])
    trainer.fit(TinyMethod(), TinyDomains())
    trainer.test(TinyMethod(), TinyDomains(), verbose=False)
