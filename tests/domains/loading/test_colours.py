"""The colours that own domains give their classes, in all pictures."""

from typing import Any

import numpy as np
import pytest

from pin_memory.domains import FolderDataModule, MultiSourceDataModule
from pin_memory.utils.labels import CITYSCAPES

IDS = {0: "ground", 1: "vehicle", 2: "sky"}
NAMES = ["ground", "vehicle", "sky"]
RED, BLUE, GREEN = [200, 0, 0], [0, 0, 200], [0, 200, 0]


def domain(root: str, **options: Any) -> FolderDataModule:
    return FolderDataModule(root, classes=NAMES, **options)


@pytest.fixture
def data() -> MultiSourceDataModule:
    """A source with ids, one with colours of two classes, and targets with colours of their own and without."""
    palette = {"200, 0, 0": "ground", "0, 0, 200": "vehicle"}
    sources = {"ids": domain("ids", ids=IDS), "painted": domain("painted", palette=palette)}
    targets = {"plain": domain("plain", ids=IDS), "own": domain("own", palette={"0, 200, 0": "ground", "9, 9, 9": "sky"})}
    return MultiSourceDataModule(sources, targets)


def test_a_class_has_the_colour_that_the_first_domain_gives_it(data: MultiSourceDataModule) -> None:
    assert data.outputs.palette.tolist() == [RED, BLUE, [9, 9, 9]]


def test_a_target_is_shown_in_its_own_colours_where_it_has_some(data: MultiSourceDataModule) -> None:
    assert data.space_of("plain").palette.tolist() == [RED, BLUE, [9, 9, 9]]
    assert data.space_of("own").palette.tolist() == [GREEN, BLUE, [9, 9, 9]]


def test_without_colours_they_are_made_up_and_differ() -> None:
    found = MultiSourceDataModule({"one": domain("one", ids=IDS)}, {"two": domain("two", ids=IDS)}).outputs
    assert len(np.unique(found.palette, axis=0)) == 3
    assert found.names == tuple(NAMES)


def test_the_19_classes_keep_theirs() -> None:
    data = MultiSourceDataModule({"one": FolderDataModule("nowhere")}, {"two": FolderDataModule("nowhere_else")})
    assert data.outputs.palette.tolist() == data.space_of("two").palette.tolist() == CITYSCAPES.palette.tolist()
