from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from pin_memory.domains.loading.samplers import DrawLoader, DrawSampler, RareClassSampler
from pin_memory.domains.loading.settings import Loading
from pin_memory.domains.readers.draws import Draw
from pin_memory.utils.errors import ConfigurationError


class Echo:
    """A data set that returns what it is asked for."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, draw: Draw) -> tuple[int, int]:
        return draw.index, draw.seed


def epoch(sampler: DrawSampler, number: int) -> list[Draw]:
    sampler.set_epoch(number)
    return list(sampler)


def drawn(draws: Iterable[Draw]) -> list[tuple[int, int]]:
    """What is drawn, whatever the iteration."""
    return [(draw.index, draw.seed) for draw in draws]


def batches(loader: DrawLoader) -> list[Any]:
    return [(indices.tolist(), seeds.tolist()) for indices, seeds in loader]


def test_an_epoch_is_as_long_as_asked_and_new_each_time() -> None:
    sampler = DrawSampler(7, 10, seed=1)
    first, second = epoch(sampler, 0), epoch(sampler, 1)
    assert len(first) == len(second) == len(sampler) == 10
    assert first == epoch(DrawSampler(7, 10, seed=1), 0)
    assert first != second
    assert len({draw.seed for draw in first + second}) == 20


def test_images_are_seen_equally_often_over_the_epochs() -> None:
    sampler = DrawSampler(7, 10, seed=1)
    seen = Counter(draw.index for number in range(7) for draw in epoch(sampler, number))
    assert set(seen.values()) == {10}
    assert len({draw.index for draw in epoch(sampler, 0)[:7]}) == 7


def test_streams_and_seeds_are_independent() -> None:
    draws = {tuple(DrawSampler(100, 10, seed=seed, stream=stream)) for seed in (0, 1) for stream in ("gtav", "synthia")}
    assert len(draws) == 4
    assert len({draw.seed for part in draws for draw in part}) == 40


def test_processes_share_an_epoch() -> None:
    whole = epoch(DrawSampler(7, 11, seed=3), 2)
    parts = []
    for rank in range(2):
        sampler = DrawSampler(7, 11, seed=3)
        sampler.num_replicas, sampler.rank = 2, rank
        parts.append(epoch(sampler, 2))
        assert len(parts[-1]) == len(sampler) == 5
    assert drawn(draw for pair in zip(*parts, strict=True) for draw in pair) == drawn(whole[:10])
    # Each process makes an iteration of its own draws: all of them train in the same iteration.
    assert [[draw.iteration for draw in part] for part in parts] == [[10, 11, 12, 13, 14]] * 2


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_goes_on_where_it_was_left(workers: int) -> None:
    def loader() -> DrawLoader:
        return DrawLoader(Echo(), sampler=DrawSampler(7, 11, seed=3), batch_size=2, num_workers=workers, persistent_workers=workers > 0)

    whole = loader()
    assert len(whole) == 5
    assert whole.state_dict() == {"epoch": 0, "batches": 0}
    first = batches(whole)
    whole.sampler.set_epoch(1)  # type: ignore[attr-defined]
    second = batches(whole)
    assert first != second

    left = loader()
    left.sampler.set_epoch(1)  # type: ignore[attr-defined]
    iterator = iter(left)
    for _ in range(3):
        next(iterator)
    state = left.state_dict()
    assert state == {"epoch": 1, "batches": 3}

    resumed = loader()
    resumed.load_state_dict(state)
    # Lightning makes the iterator first and sets the epoch then.
    iterator = iter(resumed)
    resumed.sampler.set_epoch(1)  # type: ignore[attr-defined]
    rest = [(indices.tolist(), seeds.tolist()) for indices, seeds in iterator]
    assert rest == second[3:]
    assert batches(resumed) == second

    finished = loader()
    finished.load_state_dict({"epoch": 0, "batches": 5})
    assert batches(finished) == second


def test_an_epoch_has_to_fill_a_batch() -> None:
    with pytest.raises(ConfigurationError, match="do not fill a batch of 4"):
        DrawLoader(Echo(), sampler=DrawSampler(7, 3), batch_size=4)


COUNTS = np.array([[90, 10, 0, 0], [90, 0, 0, 10], [60, 0, 40, 0], [100, 0, 0, 0], [0, 0, 30, 70]])
"""Pixels of three classes and of ignored ones in five images."""


def rare(length: int = 11, **options: Any) -> RareClassSampler:
    return RareClassSampler(COUNTS, length, seed=3, **({"temperature": 0.5} | options))


def test_classes_are_asked_for_by_their_rareness() -> None:
    """Shares of the labelled pixels are 340, 10 and 70 of 420; an image is drawn evenly among those of the class."""
    weights = np.exp(-np.array([340, 10, 70]) / 420 / 0.5)
    first, second, third = weights / weights.sum()
    expected = np.array([first / 4 + second, first / 4, first / 4 + third / 2, first / 4, third / 2])
    draws = epoch(rare(40_000), 0)
    seen = Counter(draw.index for draw in draws)
    np.testing.assert_allclose([seen[index] / 40_000 for index in range(5)], expected, atol=0.01)
    assert len({draw.seed for draw in draws}) == 40_000


def test_rare_class_draws_follow_from_seed_stream_and_position() -> None:
    whole = epoch(rare(3000), 0)
    assert whole == epoch(rare(3000), 0)
    # Epochs are stretches of one sequence, across the blocks that it is made in.
    assert [draw for number in range(6) for draw in epoch(rare(500), number)] == whole
    assert epoch(rare(500, stream="other"), 0) != whole[:500]
    left = rare(3000)
    left.skip = 1500
    assert list(left) == whole[1500:]
    shared = rare(3000)
    shared.num_replicas, shared.rank = 2, 1
    assert drawn(shared) == drawn(whole[1::2])


@pytest.mark.parametrize("workers", [0, 1])
def test_rare_class_loader_goes_on_where_it_was_left(workers: int) -> None:
    def loader() -> DrawLoader:
        return DrawLoader(Echo(), sampler=rare(), batch_size=2, num_workers=workers)

    whole = loader()
    whole.sampler.set_epoch(1)  # type: ignore[attr-defined]
    second = batches(whole)
    resumed = loader()
    resumed.load_state_dict({"epoch": 1, "batches": 3})
    assert batches(resumed) == second[3:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "rarest"}, "sampling=rarest.*uniform or rare_class"),
        ({"rare_class_temperature": 0}, "above 0"),
        ({"rare_class_min_share": 2}, r"within 0\.\.1"),
    ],
)
def test_settings_of_sampling_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Loading(**settings)
