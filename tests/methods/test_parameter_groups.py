"""A learning rate of its own for the backbone, warm-up, and the length of the inner step; they survive a stop."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from pin_memory.domains.stand_ins.writers import StandIns
from pin_memory.methods import ExponentialDecay, PolynomialDecay
from tests.helpers.resumption import Killed, differences, fit, left
from tests.helpers.stepping import ERMByHand, PinTheMemoryByHand
from tests.helpers.tiny import tiny_batch, tiny_segmenter

SGD, ADAMW = partial(torch.optim.SGD, lr=0.1), partial(torch.optim.AdamW, lr=1e-3)


@pytest.mark.parametrize("optimizer", [SGD, partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01), ADAMW])
def test_the_backbone_steps_at_its_factor(optimizer: Any) -> None:
    """As an optimiser of PyTorch with two groups does it, in every step of a schedule."""
    method = ERMByHand(tiny_segmenter(memory=False), optimizer, schedule=PolynomialDecay(horizon=6), backbone_lr_factor=0.2).prepare()
    other = tiny_segmenter(memory=False)
    named = list(other.named_parameters())
    rate = optimizer.keywords["lr"]
    sides = ((False, rate), (True, 0.2 * rate))
    groups = [{"params": [p for n, p in named if n.startswith("backbone.") == is_backbone], "lr": lr} for is_backbone, lr in sides]
    reference = optimizer(groups)
    decay = torch.optim.lr_scheduler.LambdaLR(reference, lambda t: (1 - t / 6) ** 0.9)
    for index in range(3):
        method.training_step(tiny_batch(), index)
        for name, parameter in named:
            parameter.grad = method.gradients[name]
        reference.step()
        decay.step()
        assert method.lr == pytest.approx(rate * (1 - (index + 1) / 6) ** 0.9)
    for (name, expected), found in zip(named, method.network.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8, msg=name)


def test_the_inner_step_moves_the_backbone_by_its_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Θ' = Θ - α g for the heads and Θ - 0.2 α g for the backbone."""
    method = PinTheMemoryByHand(tiny_segmenter(), SGD, inner_lr=0.3, anneal_inner_lr=False, backbone_lr_factor=0.2).prepare().train()
    kept = []
    step = type(method).inner_step
    monkeypatch.setattr(type(method), "inner_step", lambda self, loss: kept.append(step(self, loss)) or kept[-1])
    before = {name: parameter.detach().clone() for name, parameter in method.network.named_parameters()}
    method.training_step(tiny_batch(), 0)
    (fast,) = kept
    for name, value in before.items():
        factor = 0.2 if name.startswith("backbone.") else 1.0
        torch.testing.assert_close(fast.parameters[name], value - 0.3 * factor * fast.inner_gradients[name], msg=name)


def test_the_inner_rate_is_its_fraction_of_the_current_rate() -> None:
    """From the second iteration on; a quarter as published unless another one is given."""
    for options, fraction in (({}, 0.25), ({"inner_lr_fraction": 25}, 25)):
        method = PinTheMemoryByHand(tiny_segmenter(), ADAMW, inner_lr=0.5, **options).prepare().train()
        assert method.inner_lr == 0.5
        method.training_step(tiny_batch(), 0)
        assert method.inner_lr == pytest.approx(fraction * 1e-3)


@pytest.mark.parametrize("decay", [ExponentialDecay, PolynomialDecay])
def test_warm_up_rises_linearly(decay: Any) -> None:
    """To the decay without it, from its last iteration on."""
    plain, warm = decay(horizon=100), decay(horizon=100, warmup=4)
    assert [warm(t) / plain(t) for t in range(7)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1])


@pytest.mark.slow
@pytest.mark.parametrize("freeze", ["norms", *(pytest.param(part, marks=pytest.mark.reliability) for part in ("none", "stem", "all"))])
def test_groups_frozen_parts_and_warm_up_survive_a_stop(tmp_path: Path, freeze: str) -> None:
    """A run on a small network of timm that is stopped within the warm-up ends bit by bit as one that is not."""
    data = tmp_path / "data"
    StandIns(data, images_per_domain=8, seed=1, width=160).prepare()
    backbone = f"{{_target_:pin_memory.networks.TimmBackbone,name:test_efficientnet,pretrained:null,freeze:{freeze}}}"
    settings = [f"+network.backbone={backbone}", "optimizer=adamw", "optimizer.lr=1e-3", "method.backbone_lr_factor=0.3"]
    settings += ["schedule.warmup=9", "method.train_statistics=mixture", "trainer.max_steps=11"]
    fit(data, tmp_path / "never", *settings)
    with pytest.raises(Killed):
        fit(data, tmp_path / "run", *settings, disturbed=("on_train_batch_start", 7, "kill"))
    fit(data, tmp_path / "run", *settings, resume=tmp_path / "run")
    assert differences(left(tmp_path / "never"), left(tmp_path / "run")) == []
    rates = left(tmp_path / "run")["last"]["optimizer_states"][0]["param_groups"]
    assert [group["lr"] for group in rates][1] == pytest.approx(0.3 * rates[0]["lr"])
