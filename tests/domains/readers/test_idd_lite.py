"""IDD Lite: 7 classes of level 1, as published and with the drives in the names of the files."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from pin_memory.domains import IDDLite, IDDLiteDataModule
from tests.conftest import SHARED
from tests.domains.readers.domain_cases import IndexLabelCase, Tree, write_grey

DATA = SHARED / "data" / "idd_lite"


class TestIDDLite(IndexLabelCase):
    name = "idd_lite"
    module = IDDLiteDataModule
    expected: ClassVar = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6, 255: 255}
    image = "leftImg8bit/{split}/{drive}/{number:06}_image.jpg"
    label = "gtFine/{split}/{drive}/{number:06}_label.png"
    trees: ClassVar = [
        Tree("as published", "idd20k_lite/leftImg8bit/{folder}/{drive}/{number:06}_image.jpg",
             "idd20k_lite/gtFine/{folder}/{drive}/{number:06}_label.png"),
        Tree("images and labels by split", "images/{folder}/{drive}_{number:06}.jpg", "labels/{folder}/{drive}_{number:06}.png"),
    ]  # fmt: skip

    def fields(self, split: str, number: int) -> dict[str, Any]:
        return {"split": split, "number": number, "drive": 300 + 100 * (split == "val") + number // 2}

    def write_label(self, path: Path, raw: np.ndarray) -> None:
        write_grey(path, raw)
        if path.stem.endswith("_label"):  # the archive has these, too
            write_grey(path.with_name(path.name.replace("_label", "_inst_label")), np.full_like(raw, 9))

    def test_names_say_the_drive(self, clean: Path) -> None:
        assert [sample.name for sample in self.open(clean, "val").samples] == ["400_000000", "400_000001"]

    def test_values_that_labels_may_hold(self, clean: Path) -> None:
        assert set(self.open(clean).raw_ids or ()) == {*range(7), 255}


@pytest.mark.skipif(not DATA.is_dir(), reason="the real frames are not here: ../shared/data/idd_lite")
def test_the_published_frames() -> None:
    """Complete, of the published sizes, and no drive is trained on and validated on."""
    domains = {split: IDDLite(DATA, split) for split in ("train", "val")}
    assert {split: len(domain) for split, domain in domains.items()} == IDDLite.official_counts
    drives = [{sample.name.split("_")[0] for sample in domain.samples} for domain in domains.values()]
    assert (len(drives[0]), len(drives[1])) == (309, 61)
    assert not drives[0] & drives[1]
    item = domains["val"][0]
    assert item["image"].shape == (3, 227, 320)
    assert set(item["label"].unique().tolist()) <= {*range(7), 255}
