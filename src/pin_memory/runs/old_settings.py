"""Settings that 0.1.0 recorded, in the words of today."""

from typing import Any

_RENAMED = {
    "pin_memory.domains.stand_in_layouts.": "pin_memory.domains.stand_ins.",
    "pin_memory.inference.TestStatistics": "pin_memory.inference.BatchNormStatistics",
    "pin_memory.meta.": "pin_memory.methods.",
    "pin_memory.methods.schedules.": "pin_memory.methods.",
}
"""How names of classes began, and how they begin now."""
_GONE = {
    "pin_memory.domains.Loading": ("draws_per_epoch",),
    "pin_memory.callbacks.PredictionPanels": ("mean", "std"),
    "pin_memory.domains.TrainTransform": ("mean", "std"),
    "pin_memory.methods.": ("late_look", "warmup_epochs"),
}
"""Settings that no longer exist, by how the name of their class begins; evaluating a trained network needs none of them."""


def is_gone(key: str) -> bool:
    """Whether a setting that was given to 0.1.0 on the command line no longer exists."""
    return key.endswith(("loading.draws_per_epoch", "method.late_look", "whitening.warmup_epochs"))


def current_settings(settings: Any) -> Any:
    """Plain settings of any version with the names that classes have now, without settings that are gone."""
    if isinstance(settings, list):
        return [current_settings(value) for value in settings]
    if isinstance(settings, dict):
        target = str(settings.get("_target_"))
        gone = [name for start, names in _GONE.items() if target.startswith(start) for name in names]
        return {key: current_settings(value) for key, value in settings.items() if key not in gone}
    old = next((old for old in _RENAMED if isinstance(settings, str) and settings.startswith(old)), None)
    return settings if old is None else _RENAMED[old] + settings.removeprefix(old)
