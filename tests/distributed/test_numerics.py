"""What is not finite on one rank stops, or is left out by, all of them, and is told with the images of the one."""

from functools import partial
from typing import Any

import torch

from pin_memory.utils.errors import NonFiniteError
from tests.helpers.stepping import ERMByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter
from tests.helpers.two_ranks import on_two_ranks

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


class Watched(ERMByHand):
    """The loss terms are looked at, too."""

    def log_losses(self, **terms: Any) -> None:
        """What logging does besides logging."""
        self.numerics.watch(terms)


def with_a_bad_image(rank: int) -> tuple[str, bool]:
    """The message on this rank, and whether the state stayed; the second rank has the image."""
    method = Watched(tiny_segmenter(memory=False), SGD).prepare()
    batch = tiny_batch(("a", "b"))
    for domain, part in batch.items():
        part["name"] = [f"{domain}{rank}{number}" for number in range(len(part["image"]))]
    if rank == 1:
        batch["b"]["image"][2, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.numerics.begin(method.network, batch, 6)
    try:
        method.training_step(batch, 0)
    except NonFiniteError as error:
        return str(error), all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    return "", False


def with_a_bad_loss(rank: int) -> tuple[int, int, bool]:
    """Steps left out, the flag that tells, and whether the weights stayed; the gradients are finite, a loss of the second rank is not."""
    method = Watched(tiny_segmenter(memory=False), SGD, on_non_finite="skip").prepare()
    method.numerics.begin(method.network, tiny_batch(("a", "b")), 0)
    before = {name: value.clone() for name, value in method.network.named_parameters()}
    method.numerics.watch({"segmentation": torch.tensor(float("inf") if rank == 1 else 1.0)})
    method.step_optimizer({name: torch.ones_like(value) for name, value in before.items()}, 1)
    same = all(torch.equal(value, before[name]) for name, value in method.network.named_parameters())
    return method.numerics.skipped, int(method.images_seen), same


def found_later(rank: int) -> tuple[str, bool, dict[str, int]]:
    """The message of the step after that with the second rank's bad image, whether the state stayed; and what skipping counts."""
    kept, message, counted = False, "", {}
    for policy in ("raise", "skip"):
        method = Watched(tiny_segmenter(memory=False), SGD, on_non_finite=policy, late_look=True).prepare()
        for index in range(3):
            batch = tiny_batch(("a", "b"))
            for domain, part in batch.items():
                part["name"] = [f"{domain}{rank}{number}" for number in range(len(part["image"]))]
            if rank == 1 and index == 1:
                batch["b"]["image"][2, 0, 0, 0] = float("nan")
            method.numerics.begin(method.network, batch, index)
            if index < 2:
                before = {name: value.clone() for name, value in method.state_dict().items()}
            try:
                method.training_step(batch, index)
            except NonFiniteError as error:
                message = f"{error.begins} {error}"
                kept = index == 2 and all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
        counted = method.skipped
    return message, kept, counted


def test_a_bad_image_is_found_later_by_all() -> None:
    """The step was taken back on both ranks."""
    (first, kept, counted), (second, also_kept, also_counted) = on_two_ranks(found_later)
    assert first == second
    assert kept
    assert also_kept
    assert counted == also_counted == {"steps": 1, "memory_writes": 0}
    for part in ("1 Iteration 2 ", "loss term segmentation is nan", "Images of b: b00, b01, b02, b10, b11, b12", "themselves: b12"):
        assert part in first


def test_a_bad_image_of_one_rank_stops_all_with_one_message() -> None:
    """Nobody steps, nobody waits for the other."""
    (first, kept), (second, also_kept) = on_two_ranks(with_a_bad_image)
    assert first == second
    assert kept
    assert also_kept
    assert "Iteration 7 " in first
    assert "loss term segmentation is nan" in first
    assert "Images of b: b00, b01, b02, b10, b11, b12" in first
    assert "Pixels that are not finite themselves: b12" in first


def test_a_bad_loss_of_one_rank_is_left_out_by_all() -> None:
    """The ranks stay together."""
    assert on_two_ranks(with_a_bad_loss) == [(1, 0, True)] * 2
