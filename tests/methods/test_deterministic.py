"""`trainer.deterministic=true`: on a GPU PyTorch refuses what it can only compute in any order; no step may need that."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pin_memory.methods.losses import cross_entropy
from tests.helpers.poisoned_run import load, run, same
from tests.helpers.without_values import ALL, without_values

REFUSED = {
    "aten._adaptive_avg_pool2d_backward", "aten.adaptive_max_pool2d_backward", "aten.fractional_max_pool2d_backward",
    "aten.reflection_pad2d_backward", "aten.grid_sampler_2d_backward", "aten._upsample_bilinear2d_aa_backward", "aten.histc",
    "aten.kthvalue", "aten.put", "aten.put_", "aten.max_unpool2d",
}  # fmt: skip
"""Of what `torch.use_deterministic_algorithms` refuses on a GPU, what takes or gives images, features or their statistics."""
if torch.__version__ >= (2, 15):  # earlier ones avoid it, too, but on a GPU alone
    REFUSED |= {"aten.upsample_bilinear2d_backward", "aten.upsample_bicubic2d_backward"}


class Refusing(TorchDispatchMode):
    """Does what a GPU would do in deterministic mode."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func.overloadpacket)
        summed = name == "aten.nll_loss2d_forward" and args[3] != 0
        weighted = name == "aten.bincount" and len(args) > 1 and args[1] is not None
        if name in REFUSED or summed or weighted:
            raise RuntimeError(f"{name} does not have a deterministic implementation")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def deterministic() -> Iterator[None]:
    """What Lightning switches on."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("resnet", [False, True])
@pytest.mark.parametrize("kind", ALL)
def test_no_step_needs_what_a_gpu_cannot_do_in_order(kind: Any, resnet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward passes, both orders, the write and the commit; with whitening on the ResNet."""
    method, batch = without_values(kind, resnet, monkeypatch)
    with Refusing():
        method.on_train_batch_start(batch, 0)
        method.training_step(batch, 0)
    assert method.steps == 1


def test_it_would_be_noticed() -> None:
    """Without deterministic mode the loss is one that a GPU refuses in it."""
    logits, labels = torch.randn(2, 4, 3, 3, requires_grad=True), torch.zeros(2, 3, 3, dtype=torch.int64)
    with Refusing(), pytest.raises(RuntimeError, match="nll_loss2d_forward"):
        cross_entropy(logits, labels)


def test_the_loss_is_the_same(request: pytest.FixtureRequest) -> None:
    """Value and gradient, in float64; also where nothing is labelled."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, 3, dtype=torch.float64, generator=generator).requires_grad_()
    labels = torch.randint(0, 5, (2, 5, 3), generator=generator)
    labels[labels == 4] = 255
    cases = [labels, torch.full_like(labels, 255)]
    plain = [cross_entropy(logits, case) for case in cases]
    plain_gradients = [torch.autograd.grad(loss, logits)[0] for loss in plain]
    request.getfixturevalue("deterministic")
    for case, loss, gradient in zip(cases, plain, plain_gradients, strict=True):
        again = cross_entropy(logits, case)
        torch.testing.assert_close(again, loss, rtol=1e-14, atol=0)
        torch.testing.assert_close(torch.autograd.grad(again, logits)[0], gradient, rtol=1e-14, atol=0)


@pytest.mark.slow
@pytest.mark.usefixtures("deterministic")  # Lightning switches it on for the process, and never off
def test_a_run_in_deterministic_mode(data: Path, tmp_path: Path) -> None:
    """Comes to its end, and a second one to the same bits."""
    ends = [load(run(data, tmp_path / name, "trainer.deterministic=true") / "checkpoints" / "last.ckpt") for name in ("first", "second")]
    assert torch.are_deterministic_algorithms_enabled()
    assert ends[0]["global_step"] == 4
    assert same(ends[0]["state_dict"], ends[1]["state_dict"])
