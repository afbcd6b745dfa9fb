"""Settings checked by pydantic: what is accepted, and what is reported."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import pytest
from pydantic import Field, Strict
from torch import nn

from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.validation import Range, Share, validated


@validated("loading")
@dataclass(frozen=True)
class Settings:
    batch_size: Annotated[int, Field(ge=1, le=8)] = 4
    share: Share = 0.5
    scale: Range = (0.5, 2.0)
    rule: Literal["uniform", "rare"] = "uniform"
    size: int | Annotated[tuple[int, int], Strict(False)] = 3


class Part(nn.Module):
    @validated("")
    def __init__(self, inner: nn.Module, rate: Annotated[float, Field(gt=0)]) -> None:
        super().__init__()
        self.inner, self.rate = inner, rate


def test_good_settings_are_taken_and_lists_become_tuples() -> None:
    settings = Settings(2, scale=[1, 3], size=[4, 5])  # type: ignore[arg-type]

    assert settings.scale == (1, 3)
    assert settings.size == (4, 5)
    assert replace(settings, batch_size=8) == Settings(8, scale=(1, 3), size=(4, 5))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "loading.batch_size must be greater than or equal to 1, found 0."),
        ({"batch_size": True}, "loading.batch_size must be a valid integer, found True."),
        ({"batch_size": "2"}, "loading.batch_size must be a valid integer, found '2'."),
        ({"share": float("nan")}, "loading.share must be a finite number, found nan."),
        ({"share": 1.5}, "loading.share must be less than or equal to 1, found 1.5."),
        ({"scale": [2, 1]}, "loading.scale must have its lower end first, found [2, 1]."),
        ({"scale": [1, "a"]}, "loading.scale (entry 1, counted from 0) must be a valid number, found 'a'."),
        ({"rule": "other"}, "loading.rule must be 'uniform' or 'rare', found 'other'."),
        ({"size": "big"}, "loading.size must be a valid integer or must be a valid tuple, found 'big'."),
        ({"batches": 1}, "There is no setting loading.batches; expected one of batch_size, share, scale, rule, size."),
        ({"batch_size": 0, "share": 2}, "loading.batch_size must be greater than or equal to 1, found 0. loading.share must be less"),
    ],
)
def test_a_bad_setting_is_one_sentence_with_name_rule_and_value(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings(**settings)  # type: ignore[arg-type]

    assert str(caught.value).startswith(message)


def test_positions_are_reported_by_name() -> None:
    with pytest.raises(ConfigurationError, match="batch_size must be less than or equal to 8, found 9"):
        Settings(9)


def test_constructors_of_modules_can_be_decorated() -> None:
    inner = nn.Linear(2, 2)

    assert Part(inner, 0.5).inner is inner
    with pytest.raises(ConfigurationError, match="rate is missing: set it"):
        Part(inner)  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match="inner must be an instance of Module, found 3"):
        Part(3, 0.5)  # type: ignore[arg-type]
