"""The scores of episodes against plain loops over the pixels."""

import math

import pytest
import torch
from torch import Tensor

from pin_memory.metrics import EpisodeScores

FOLD = [3, 8, 5]


def looped(predictions: Tensor, labels: Tensor, classes: Tensor, only_where_shown: bool) -> dict[int | str, float]:
    """IoU of each class by its definition, pixel by pixel, over all queries of all episodes."""
    names: list[int | str] = [*FOLD, "background"]
    hits, union, truth = (dict.fromkeys(names, 0) for _ in range(3))
    for prediction, label, own in zip(predictions, labels, classes.tolist(), strict=True):
        absolute: list[int | str] = ["background", *own]
        for query, query_label in zip(prediction, label, strict=True):
            pixels = [(p, t) for p, t in zip(query.flatten().tolist(), query_label.flatten().tolist(), strict=True) if t != 255]
            for place, name in enumerate(absolute):
                shows = any(t == place for _, t in pixels)
                for p, t in pixels:
                    truth[name] += t == place
                    hits[name] += p == t == place
                    union[name] += t == place or (p == place and (shows or not only_where_shown))
    return {name: hits[name] / union[name] if truth[name] else math.nan for name in names}


@pytest.fixture
def episodes() -> tuple[Tensor, Tensor, Tensor]:
    """Twelve episodes of two classes and two queries, some of which lack a class or everything; class 5 is never there."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.tensor([[3, 8], [8, 3], [8, 5]] * 4)
    labels = torch.randint(0, 3, (12, 2, 5, 7), generator=generator)
    labels[classes[:, 1] == 5] = labels[classes[:, 1] == 5].clamp(max=1)
    labels[:, 0, :2][labels[:, 0, :2] == 1] = 0
    labels[0, 1], labels[1, 1] = 0, 255
    labels[torch.rand(labels.shape, generator=generator) < 0.1] = 255
    predictions = torch.where(torch.rand(labels.shape, generator=generator) < 0.6, labels.clamp(max=2), torch.randint(0, 3, labels.shape))
    return predictions, labels, classes


def test_pooled_counts_are_those_of_a_loop(episodes: tuple[Tensor, Tensor, Tensor]) -> None:
    scores = EpisodeScores(FOLD)
    for start in range(0, 12, 3):
        scores.update(*(part[start : start + 3] for part in episodes))
    for rule in (False, True):
        expected = looped(*episodes, only_where_shown=rule)
        torch.testing.assert_close(
            scores.iou(rule), torch.tensor([expected[name] for name in (*FOLD, "background")], dtype=torch.float64), equal_nan=True
        )
    expected = looped(*episodes, only_where_shown=False)
    found = scores.compute()
    assert found["miou"] == pytest.approx((expected[3] + expected[8]) / 2)
    assert found["miou_with_background"] == pytest.approx((expected[3] + expected[8] + expected["background"]) / 3)
    binary = looped(
        episodes[0].clamp(max=1), episodes[1].where(episodes[1] == 255, episodes[1].clamp(max=1)), torch.full((12, 1), 3), False
    )
    assert found["fb_iou"] == pytest.approx((binary[3] + binary["background"]) / 2)


def test_the_rules_differ_on_false_positives_where_the_query_lacks_the_class() -> None:
    """Class 9 is right on the first query, and predicted on one pixel of the second, which does not show it."""
    scores = EpisodeScores([7, 9])
    label = torch.tensor([[[[2, 2, 1, 0]], [[1, 1, 0, 0]]]])
    scores.update(torch.tensor([[[[2, 2, 1, 0]], [[1, 1, 2, 0]]]]), label, torch.tensor([[7, 9]]))
    assert scores.iou().tolist() == pytest.approx([1, 2 / 3, 2 / 3])
    assert scores.iou(only_where_shown=True).tolist() == pytest.approx([1, 1, 2 / 3])
    found = scores.compute()
    assert found["miou"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["miou_panet"] == pytest.approx(1)


def test_states_of_two_ranks_add_up(episodes: tuple[Tensor, Tensor, Tensor]) -> None:
    one, *ranks = (EpisodeScores(FOLD) for _ in range(3))
    one.update(*episodes)
    for place, rank in enumerate(ranks):
        rank.update(*(part[place::2] for part in episodes))
    ranks[0].merge_state(ranks[1])
    assert ranks[0].compute() == one.compute()


def test_nothing_counted_gives_nan() -> None:
    assert all(math.isnan(score) for score in EpisodeScores(FOLD).compute().values())


def test_what_does_not_fit_is_refused() -> None:
    empty = torch.zeros(1, 1, 2, 2, dtype=torch.long)
    with pytest.raises(ValueError, match=r"has the classes \[4\]"):
        EpisodeScores(FOLD).update(empty, empty, torch.tensor([[4, 3]]))
    with pytest.raises(ValueError, match="differ"):
        EpisodeScores(FOLD).update(empty, empty[:, :, :1], torch.tensor([[3]]))
    with pytest.raises(ValueError, match="out of bounds"):
        EpisodeScores(FOLD).update(empty, empty + 2, torch.tensor([[3]]))
