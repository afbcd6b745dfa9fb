"""Label spaces that data sets share: the published maps against tables of ids, own ones, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from pin_memory.domains import Domain, MultiSourceDataModule, SharedLabelSpace
from pin_memory.domains.loading.class_statistics import fingerprint
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError
from tests.domains.readers.domain_cases import stripes, write_grey, write_image

# Train id of each raw id in idd_level1 and camvid11, written by hand from the lists that came with the data sets.
KITTI_LEVEL_1 = {0: (7, 9), 1: (8, 10, 22), 2: (24, 25), 3: range(26, 34), 4: (12, 13, 14, 17, 18, 19, 20), 5: (11, 15, 16, 21), 6: (23,)}
KITTI_11 = {0: (23,), 1: (11, 12, 15, 16), 2: (17, 18), 3: (7,), 4: (8, 9), 5: (21, 22), 6: (19, 20), 7: (13, 14), 8: range(26, 32),
            9: (24,), 10: (25, 32, 33)}  # fmt: skip
CAMVID_LEVEL_1 = {0: (3,), 1: (4,), 2: (9,), 3: (8,), 4: (2, 6, 7), 5: (1, 5), 6: (0,)}
# Level 1 of each id of IDD, of the official table.
IDD_LEVEL_1 = [0, 0, 0, 1, 1, 1, *[2] * 3, *[3] * 10, *[4] * 10, *[5] * 4, 6, 6, *[255] * 5]


def table(by_class: dict[int, Any]) -> np.ndarray:
    found = np.full(256, 255, np.uint8)
    for train_id, raws in by_class.items():
        found[list(raws)] = train_id
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two frames each of KITTI, CamVid, IDD and IDD Lite with all of their ids."""
    root = tmp_path_factory.mktemp("data")
    for split in ("train", "val", "test"):
        for number in range(2):
            files = {
                "kitti": (f"images/{number:06}_10.jpg", f"labels/{number:06}_10.png", range(34)),
                "camvid": (f"images/{split}/0001TP_{number:06}.jpg", f"labels/{split}/0001TP_{number:06}.png", range(12)),
                "idd_lite": (f"images/{split}/1_{number}.jpg", f"labels/{split}/1_{number}.png", [*range(7), 255]),
                "idd": (f"leftImg8bit/{split}/1/{number}_leftImg8bit.png", f"gtFine/{split}/1/{number}_gtFine_labelids.png", range(40)),
            }
            for name, (image, label, ids) in files.items():
                raw = stripes(list(ids))
                write_image(root / name / image, *raw.shape, seed=number)
                write_grey(root / name / label, raw)
    return root


def made(data: Path, *overrides: str) -> MultiSourceDataModule:
    """The data module of `train` with overrides."""
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=[f"paths.data={data}", "loading.num_workers=0", *overrides])
    return instantiate(cfg.data)


def opened(data: Path, space: str, name: str, *overrides: str) -> Domain:
    return made(data, f"label_space={space}", f"+domain@data.sources.{name}={name}", *overrides).sources[name].dataset("train")


@pytest.mark.parametrize(
    ("space", "name", "expected"),
    [
        ("idd_level1", "kitti", table(KITTI_LEVEL_1)),
        ("idd_level1", "camvid", table(CAMVID_LEVEL_1)),
        ("idd_level1", "idd", np.array(IDD_LEVEL_1 + [255] * 216, np.uint8)),
        ("idd_level1", "idd_lite", table({train_id: (train_id,) for train_id in range(7)})),
        ("camvid11", "kitti", table(KITTI_11)),
        ("camvid11", "camvid", table({train_id: (train_id,) for train_id in range(11)})),
    ],
)
def test_the_shipped_maps(data: Path, space: str, name: str, expected: np.ndarray) -> None:
    domain = opened(data, space, name)
    np.testing.assert_array_equal(domain.table, expected)
    assert domain.classes == domain.label_space.names  # all of them occur
    label = domain.read_label(domain.samples[0])
    np.testing.assert_array_equal(label, expected[domain.read_raw_label(domain.samples[0].label)])


@pytest.mark.parametrize("name", ["kitti", "camvid", "idd"])
def test_the_19_classes_are_what_readers_yield_anyway(data: Path, name: str) -> None:
    domain, plain = opened(data, "cityscapes19", name), made(data, f"+domain@data.sources.{name}={name}").sources[name].dataset("train")
    np.testing.assert_array_equal(domain.table, plain.table)
    assert (domain.classes, domain.label_space.names) == (plain.classes, plain.label_space.names)
    np.testing.assert_array_equal(domain.label_space.palette, plain.label_space.palette)


def test_another_order_of_camvids_ids_is_the_same_map(data: Path, tmp_path: Path) -> None:
    names = ["building", "tree", "sky", "car", "sign", "road", "pedestrian", "fence", "pole", "sidewalk", "bicyclist"]
    raw = stripes(list(range(11)))
    write_image(tmp_path / "camvid/images/train/0001TP_000001.jpg", *raw.shape)
    write_grey(tmp_path / "camvid/labels/train/0001TP_000001.png", raw)
    domain = opened(tmp_path, "camvid11", "camvid", "data.sources.camvid.encoding=semseg11")
    own = ["sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    assert domain.table[:11].tolist() == [own.index(name) for name in names]


def test_one_run_on_all_of_them(data: Path) -> None:
    """Classes, the network's width, names, means over subsets and the cache of class counts follow the label space."""
    domains = [f"+domain@data.sources.{name}={name}" for name in ("kitti", "camvid")] + ["+domain@data.targets.idd_lite=idd_lite"]
    with pytest.raises(Exception, match="different class lists"):
        made(data, *domains)
    module = made(data, "label_space=idd_level1", *domains)
    assert module.label_space.names[1] == "non-drivable"
    assert module.score_subsets == {}
    assert set(made(data, "label_space=camvid11", domains[0]).score_subsets) == {"miou9"}
    with initialize_config_dir(str(config_directory()), version_base="1.3"):
        cfg = compose("train", overrides=["label_space=idd_level1"])
        assert cfg.network.num_classes == cfg.network.memory.num_classes == 7
        assert compose("train").network.num_classes == 19
    assert len({fingerprint(opened(data, space, "kitti")) for space in ("idd_level1", "camvid11", "cityscapes19")}) == 3


def test_own_space_on_own_folders(data: Path) -> None:
    """A folder's ids name the classes of the space; labels of train ids need no ids at all."""
    folder = ["+domain@data.sources.mine=folder", f"data.sources.mine.root={data}/idd_lite", "data.sources.mine.images=images/train"]
    folder += ["data.sources.mine.labels=labels/train", "label_space=idd_level1"]
    domain = made(data, *folder).sources["mine"].dataset("train")
    assert domain.table[:8].tolist() == [*range(7), 255]
    named = made(data, *folder, "+data.sources.mine.ids={0: sky, 6: drivable}").sources["mine"].dataset("train")
    assert (named.table[0], named.table[6], named.classes) == (6, 0, ("drivable", "sky"))
    with pytest.raises(Exception, match="classes and colours are those of label_space"):
        made(data, *folder, "data.sources.mine.classes=[a,b]")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 3}, "num_classes=3, but label_space.classes names 2"),
        ({"maps": {"kitti": {"ways": ["road"]}}}, r"maps.kitti: 'ways' is no class; expected way, rest or ignore\. 'ways' is nearly 'way'"),
        ({"maps": {"kitti": {"way": ["road"], "rest": ["road"]}}}, "maps.kitti: 'road' comes twice"),
        ({"subsets": {"miou1": ["roads"]}}, "subsets.miou1: 'roads' is no class"),
        ({"colours": {"wa": [1, 2, 3]}}, "colours: 'wa' is none of the classes"),
    ],
)
def test_what_a_space_may_not_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        SharedLabelSpace(**({"classes": ["way", "rest"], "num_classes": 2} | changes))


def test_a_map_names_every_class(data: Path) -> None:
    space = {"classes": ["way", "rest"], "num_classes": 2}
    for maps, message in (
        (
            {"camvid": {"way": ["road"], "ignore": ["sky"]}},
            r"maps\.camvid does not say what becomes of building, pole, pavement and 6 more",
        ),
        ({"idd": {"way": ["road"]}}, r"maps\.camvid does not say what becomes of sky, building, pole and 8 more.*list it as ignore"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            SharedLabelSpace(**space, maps=maps).table(opened(data, "camvid11", "camvid").class_names, "CamVid")
