"""Training draws as a function of seed, source and iteration."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pin_memory.domains import FolderDataModule, TrainTransform
from pin_memory.domains.loading.samplers import DrawSampler, RareClassSampler
from pin_memory.domains.loading.settings import Loading
from pin_memory.domains.readers.draws import Draw, Wanted
from pin_memory.utils.errors import ConfigurationError


def first(sampler: DrawSampler, number: int) -> list[Draw]:
    return list(islice(sampler, number))


def drawn(draws: Iterable[Draw]) -> list[tuple[int, int]]:
    """What is drawn, whatever the iteration."""
    return [(draw.index, draw.seed) for draw in draws]


def on_process(sampler: DrawSampler, rank: int, processes: int) -> DrawSampler:
    sampler.rank, sampler.processes = rank, processes
    return sampler


def test_images_are_seen_equally_often_in_new_permutations() -> None:
    draws = first(DrawSampler(7, seed=1), 70)
    assert set(Counter(draw.index for draw in draws).values()) == {10}
    assert all(len({draw.index for draw in draws[start : start + 7]}) == 7 for start in range(0, 70, 7))
    assert len({tuple(draw.index for draw in draws[start : start + 7]) for start in range(0, 70, 7)}) > 5
    assert len({draw.seed for draw in draws}) == 70
    assert draws == first(DrawSampler(7, seed=1), 70)


def test_streams_and_seeds_are_independent() -> None:
    draws = {tuple(first(DrawSampler(100, seed=seed, stream=stream), 10)) for seed in (0, 1) for stream in ("gtav", "synthia")}
    assert len(draws) == 4
    assert len({draw.seed for part in draws for draw in part}) == 40


@pytest.mark.parametrize("start", [0, 1, 3, 400])
def test_any_iteration_is_reached_without_those_before(start: int) -> None:
    """A resumed run needs no state: the iteration decides."""
    intact = first(DrawSampler(7, batch_size=3, seed=3), 3 * (start + 20))
    assert first(DrawSampler(7, batch_size=3, seed=3, start=start), 60) == intact[3 * start :]
    assert [draw.iteration for draw in intact] == [position // 3 for position in range(len(intact))]


@pytest.mark.parametrize("start", [0, 5])
def test_processes_share_the_draws_of_an_iteration(start: int) -> None:
    both = first(DrawSampler(7, batch_size=4, seed=3, start=start), 40)
    parts = [first(on_process(DrawSampler(7, batch_size=2, seed=3, start=start), rank, 2), 20) for rank in range(2)]
    assert drawn(draw for pair in zip(*parts, strict=True) for draw in pair) == drawn(both)
    # Each process makes an iteration of its own draws: all of them train in the same iteration.
    assert [[draw.iteration for draw in part] for part in parts] == [[start + number // 2 for number in range(20)]] * 2


COUNTS = np.array([[90, 10, 0, 0], [90, 0, 0, 10], [60, 0, 40, 0], [100, 0, 0, 0], [0, 0, 30, 70]])
"""Pixels of three classes and of ignored ones in five images."""


def rare(start: int = 0, stream: str = "") -> RareClassSampler:
    return RareClassSampler(COUNTS, batch_size=2, seed=3, stream=stream, start=start, temperature=0.5)


def test_classes_are_asked_for_by_their_rareness() -> None:
    """Shares of the labelled pixels are 340, 10 and 70 of 420; an image is drawn evenly among those of the class."""
    weights = np.exp(-np.array([340, 10, 70]) / 420 / 0.5)
    one, two, three = weights / weights.sum()
    expected = np.array([one / 4 + two, one / 4, one / 4 + three / 2, one / 4, three / 2])
    draws = first(rare(), 40_000)
    seen = Counter(draw.index for draw in draws)
    np.testing.assert_allclose([seen[index] / 40_000 for index in range(5)], expected, atol=0.01)
    assert len({draw.seed for draw in draws}) == 40_000


def test_rare_class_draws_follow_from_seed_stream_and_position() -> None:
    intact = first(rare(), 3000)
    assert first(rare(), 3000) == intact
    assert first(rare(start=750), 1500) == intact[1500:]  # across the blocks that they are made in
    assert first(rare(stream="other"), 500) != intact[:500]
    assert drawn(first(on_process(rare(), 1, 2), 1500)) == drawn(intact[1::2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": "rarest"}, "loading.sampling must be 'uniform' or 'rare_class', found 'rarest'"),
        ({"rare_class_temperature": 0}, "loading.rare_class_temperature must be greater than 0"),
        ({"rare_class_min_share": 2}, "loading.rare_class_min_share must be less than or equal to 1"),
        ({"sampling": "rare_class", "rare_class_crop_pixels": 0}, "loading.rare_class_crop_pixels must be greater than or equal to 1"),
        ({"rare_class_crop_pixels": 9}, "rare_class_crop_pixels=9 is of loading.sampling=rare_class, but sampling is uniform"),
    ],
)
def test_settings_of_sampling_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Loading(**settings)


@pytest.fixture
def corners(tmp_path: Path) -> Path:
    """Five images of class 0, whose last 12 x 12 pixels are of class 1."""
    label = np.zeros((64, 64), np.uint8)
    label[-12:, -12:] = 1
    for number in range(5):
        for kind in ("images", "labels"):
            (tmp_path / kind).mkdir(exist_ok=True)
        Image.fromarray(np.dstack([label * 200] * 3)).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(label).save(tmp_path / "labels" / f"{number}.png")
    return tmp_path


def shown(root: Path, batches: int = 12, **loading: Any) -> list[tuple[list[int], torch.Tensor]]:
    """Pixels of class 1 in the crops of the first batches, and their images."""
    settings = Loading(batch_size=2, seed=3, sampling="rare_class", rare_class_temperature=0.01, **({"num_workers": 0} | loading))
    crop = TrainTransform(16, scale=(1.0, 1.0), flip=0, jitter_probability=0, blur_sigma=None)
    module = FolderDataModule(root, crop, settings, classes=["much", "little"])
    found = list(islice(module.train_dataloader(), batches))
    return [((batch["label"] == 1).sum((1, 2)).tolist(), batch["image"]) for batch in found]


def test_a_crop_is_drawn_again_until_it_shows_the_class(corners: Path) -> None:
    """Class 1 is asked for nearly always; a crop of a sixteenth of the image seldom shows it by chance."""
    once = [pixels for both, _ in shown(corners) for pixels in both]
    again = [pixels for both, _ in shown(corners, rare_class_crop_pixels=20, rare_class_crop_tries=500) for pixels in both]
    assert sum(pixels >= 20 for pixels in once) < 8
    assert min(again) >= 20
    few = [pixels for both, _ in shown(corners, rare_class_crop_pixels=20, rare_class_crop_tries=2) for pixels in both]
    assert sum(pixels >= 20 for pixels in once) <= sum(pixels >= 20 for pixels in few) < 24  # the last try counts whatever it shows
    assert [new for old, new in zip(once, few, strict=True) if old >= 20] == [old for old in once if old >= 20]


@pytest.mark.parametrize("other", [{"num_workers": 1}, {"on_bad_sample": "skip"}])
def test_crops_follow_from_the_draw(corners: Path, other: dict[str, Any]) -> None:
    """Neither processes nor a readiness to skip samples change them."""
    wanted = {"rare_class_crop_pixels": 20, "rare_class_crop_tries": 50}
    for (one, images), (two, others) in zip(shown(corners, 4, **wanted), shown(corners, 4, **wanted, **other), strict=True):
        assert one == two
        assert torch.equal(images, others)


def test_tries_are_as_many_as_are_needed() -> None:
    """By seeds of their own, the first of which is the draw's."""
    seeds: list[int] = []

    def make(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        seeds.append(seed)
        return torch.zeros(3, 2, 2), torch.full((2, 2), len(seeds) // 4)

    assert Draw(0, 7, wanted=Wanted(1, 4, 9)).crop(make)[1].unique().tolist() == [1]
    assert len(set(seeds)) == len(seeds) == 4
    assert seeds[0] == 7
    seeds.clear()
    Draw(0, 7, wanted=Wanted(5, 1, 3)).crop(make)
    assert len(seeds) == 3
    seeds.clear()
    Draw(0, 7).crop(make)
    assert seeds == [7]
