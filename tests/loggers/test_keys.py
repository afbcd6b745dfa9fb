"""The table of what is logged. The page that is made of it: tests/project/test_site.py."""

from pin_memory.loggers.keys import ROWS, find, patterns


def test_no_key_is_there_twice() -> None:
    assert len(set(patterns())) == len(list(patterns()))


def test_a_key_is_found_by_its_name_before_its_pattern() -> None:
    rows = {key: row for row in ROWS for key in row.keys}
    for key, pattern in {
        "val/miou": "val/miou",
        "val/miou_gtav": "val/miou_<source>",
        "loss/inner": "loss/inner",
        "loss/inner_segmentation": "loss/<step>segmentation",
        "loss/segmentation": "loss/<step>segmentation",
        "reliability/outer_min_idd": "reliability/<step>min_<source>",
        "test/iou_a b/traffic light": "test/iou_<target>/<class>",
    }.items():
        assert find(key) is rows[pattern], key
    assert find("loss/nothing") is None
    assert find("val/miouX") is None
