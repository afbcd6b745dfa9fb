"""The table of what is logged, and the documentation that is written from it."""

from pathlib import Path

import pytest

from pin_memory.loggers.keys import ROWS, dashboard_table, find, logged_table, patterns

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "dashboards.md"


@pytest.mark.parametrize(("name", "table"), [("logged keys", logged_table()), ("panels", dashboard_table())])
def test_the_documentation_has_the_table(name: str, table: str) -> None:
    """On a failure, put what the assertion shows between the marks of the file."""
    text = DOCUMENTATION.read_text(encoding="utf-8")
    assert text.partition(f"<!-- {name}: loggers/keys.py -->\n")[2].partition("\n<!-- end -->")[0] == table


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
