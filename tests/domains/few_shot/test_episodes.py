"""Which images an episode takes: the rules of METASEGNET.md, sections e and g."""

from typing import Any, get_args

import numpy as np
import pytest

from pin_memory.domains.few_shot.episodes import EpisodeSampler
from pin_memory.domains.few_shot.protocols import PROTOCOLS, Queries
from pin_memory.utils.errors import ConfigurationError

IMAGES, CLASSES = 60, [2, 4, 5, 7]


@pytest.fixture(scope="module")
def shown() -> np.ndarray:
    """Which of 9 classes 60 images show."""
    return np.random.default_rng(0).random((IMAGES, 9)) < 0.4


def sampler(shown: np.ndarray, **options: Any) -> EpisodeSampler:
    return EpisodeSampler(shown, CLASSES, **({"way": 2, "shot": 3, "seed": 1} | options))


@pytest.mark.parametrize("queries", get_args(Queries))
def test_rules_of_every_episode(shown: np.ndarray, queries: Queries) -> None:
    for number in range(200):
        episode = sampler(shown, queries=queries).episode(number) if number < 5 else sampler(shown, queries=queries, seed=number).episode(3)
        assert len(set(episode.classes)) == 2
        assert set(episode.classes) <= set(CLASSES)
        assert not set(episode.support) & set(episode.queries)
        assert len(episode.support) == 6
        for place, image in enumerate(episode.support):
            assert shown[image, episode.classes[place // 3]]
        for place in range(2):
            assert len(set(episode.support[3 * place : 3 * place + 3])) == 3
        seen = [[c for c in episode.classes if shown[image, c]] for image in episode.queries]
        if queries == "per_class":
            assert len(set(episode.queries)) == 2
            assert all(c in own for c, own in zip(episode.classes, seen, strict=True))
        elif queries == "both_present":
            assert [len(own) for own in seen] == [2]
        elif queries == "one":
            assert len(seen) == 1
            assert seen[0]


def test_an_episode_follows_from_seed_and_number_alone(shown: np.ndarray) -> None:
    one = sampler(shown, queries="per_class")
    forwards = [one.episode(number) for number in range(20)]
    assert [sampler(shown, queries="per_class").episode(number) for number in reversed(range(20))] == forwards[::-1]
    assert len({(episode.classes, episode.support, episode.queries) for episode in forwards}) > 15
    for other in (sampler(shown, queries="per_class", seed=2), sampler(shown, queries="per_class", stream="test")):
        assert [other.episode(number).support for number in range(20)] != [episode.support for episode in forwards]


def test_classes_and_their_order_are_drawn_evenly(shown: np.ndarray) -> None:
    drawn = [sampler(shown, seed=9).episode(number).classes for number in range(1200)]
    for place in range(2):
        counts = np.bincount([own[place] for own in drawn], minlength=9)[CLASSES]
        assert counts.min() > 300 - 4 * 15  # four standard deviations
        assert counts.max() < 300 + 4 * 15


def test_ifsl_queries_show_a_class_of_the_episode_at_least_half_of_the_time(shown: np.ndarray) -> None:
    """In one way, of images that show one class each: with weight 1/2."""
    single = np.zeros((40, 9), bool)
    single[np.arange(40), np.repeat(CLASSES, 10)] = True
    found = [sampler(single, way=1, queries="any").episode(number) for number in range(1000)]
    share = np.mean([single[episode.queries[0], episode.classes[0]] for episode in found])
    assert abs(share - 0.5) < 4 * 0.016
    assert all(own.queries[0] not in own.support for own in found)


def test_hsnet_walks_over_all_pairs(shown: np.ndarray) -> None:
    one = sampler(shown, way=1, shot=1, in_turn=True)
    walked = [(episode.classes[0], episode.queries[0]) for episode in (one.episode(number) for number in range(len(one.pairs)))]
    assert walked == [(c, image) for c in CLASSES for image in range(IMAGES) if shown[image, c]]
    assert one.episode(len(one.pairs)).queries == one.episode(0).queries
    both = sampler(shown, in_turn=True)
    assert all(int(both.pairs[number][0]) in both.episode(number).classes for number in range(50))


def test_too_little_to_draw_from(shown: np.ndarray) -> None:
    with pytest.raises(ConfigurationError, match="way=5: val episodes have 4 classes"):
        sampler(shown, way=5, stream="val")
    few = shown.copy()
    few[:, 5] = False
    few[:3, 5] = True
    with pytest.raises(ConfigurationError, match="need 4 images of each class, but 3 show f"):
        sampler(few, names="abcdefghi")
    assert sampler(few, shot=2).episode(0)
    alone = np.eye(9, dtype=bool).repeat(8, axis=0)
    with pytest.raises(ConfigurationError, match="no image of the episodes shows 2 of their classes"):
        sampler(alone, queries="both_present")


def test_the_table_of_protocols() -> None:
    """METASEGNET.md, section e."""
    assert PROTOCOLS["panet"].seeds == (1234, 1235, 1236, 1237, 1238)
    assert [PROTOCOLS[name].support_labels for name in ("ours", "panet", "hsnet", "ifsl")] == ["all", "own_else_ignored", "own", "own"]
    assert [PROTOCOLS[name].test_images for name in ("ours", "panet", "hsnet", "ifsl")] == ["val", "train", "val", "val"]
