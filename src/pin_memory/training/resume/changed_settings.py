"""Which settings of two runs differ, in words."""

from collections.abc import Callable, Mapping
from typing import Any


def changed_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], most: int, matters: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """Compare two configurations, as nested dictionaries of plain values.

    Args:
        before: Of the earlier run.
        now: Of this one.
        most: Differences that are told one by one; the others are counted.
        matters: Whether a dotted key is compared.

    Returns:
        "key: old before, new now" for each difference, by dotted key; empty where there is none.
    """
    old, new = _flat(before), _flat(now)
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key) and matters(key)]
    told = [f"{key}: {old.get(key)} before, {new.get(key)} now" for key in changed[:most]]
    return told + ([f"and {len(changed) - most} more"] if len(changed) > most else [])


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """A nested dictionary with dotted keys."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    return {key: value for name, item in node.items() for key, value in _flat(item, f"{prefix}.{name}" if prefix else str(name)).items()}
