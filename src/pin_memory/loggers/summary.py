"""The scores on the targets under their logged keys."""

from collections.abc import Mapping
from typing import Any

from pin_memory.utils.tables import STAND_IN_NOTE


def scores_of(results: Mapping[str, Any]) -> dict[str, float]:
    """`test/mean_miou`, `test/miou_<target>` and `test/iou_<target>/<class>`, 0..1, as far as they are known, from `results.json`."""
    scores = {f"test/miou_{name}": target["miou"] for name, target in results["targets"].items()}
    classes = {f"test/iou_{name}/{kind}": iou for name, target in results["targets"].items() for kind, iou in target["iou"].items()}
    found = scores | classes | {"test/mean_miou": results.get("mean_miou")}
    return {key: value for key, value in found.items() if value is not None}


def notes_of(results: Mapping[str, Any]) -> dict[str, str]:
    """`test/protocol`, `test/selection` and, where the scenes are drawn, `test/note`."""
    notes = {"test/selection": results.get("selection"), "test/protocol": str(results.get("protocol"))}
    notes |= {"test/note": STAND_IN_NOTE if results.get("stand_in") else None}
    return {key: value for key, value in notes.items() if value is not None}
