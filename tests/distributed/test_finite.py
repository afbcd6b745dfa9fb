"""What is not finite on one rank stops, or is left out by, all of them, and is reported with the images of the one."""

from functools import partial

import pytest
import torch

from pin_memory.utils.errors import NonFiniteError
from tests.helpers.stepping import ERMByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter
from tests.helpers.two_ranks import on_two_ranks

pytestmark = pytest.mark.slow

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


def with_a_bad_image(rank: int) -> tuple[str, bool]:
    """The message on this rank, and whether the state stayed; the second rank has the image."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD).prepare()
    batch = tiny_batch(("a", "b"))
    for domain, part in batch.items():
        part["name"] = [f"{domain}{rank}{number}" for number in range(len(part["image"]))]
    if rank == 1:
        batch["b"]["image"][2, 0, 0, 0] = float("nan")
    before = {name: value.clone() for name, value in method.state_dict().items()}
    method.steps = 6
    method.on_train_batch_start(batch, 6)
    try:
        method.training_step(batch, 0)
    except NonFiniteError as error:
        return str(error), all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    return "", False


def with_a_bad_loss(rank: int) -> tuple[int, int, bool]:
    """Steps left out, the flag that tells, and whether the weights stayed; the gradients are finite, a loss of the second rank is not."""
    method = ERMByHand(tiny_segmenter(memory=False), SGD, on_non_finite="skip").prepare()
    method.on_train_batch_start(tiny_batch(("a", "b")), 0)
    before = {name: value.clone() for name, value in method.network.named_parameters()}
    method.log_losses(segmentation=torch.tensor(float("inf") if rank == 1 else 1.0))
    method.step_optimizer({name: torch.ones_like(value) for name, value in before.items()}, 1)
    same = all(torch.equal(value, before[name]) for name, value in method.network.named_parameters())
    return method.finite.skipped["steps"], int(method.images_seen), same


def test_a_bad_image_of_one_rank_stops_all_with_one_message() -> None:
    """No rank steps, and none waits for the other."""
    (first, kept), (second, also_kept) = on_two_ranks(with_a_bad_image)
    assert first == second
    assert kept
    assert also_kept
    assert "Iteration 7 " in first
    assert "loss term segmentation is nan" in first
    assert "Images of b: b00, b01, b02, b10, b11, b12" in first


def test_a_bad_loss_of_one_rank_is_left_out_by_all() -> None:
    """The ranks stay together."""
    assert on_two_ranks(with_a_bad_loss) == [(1, 0, True)] * 2
