"""Names that settings of the commands may take. Where what knows them is imported with torch, the tests compare the two."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pin_memory.utils.errors import ConfigurationError

CHOICES: dict[str, dict[str, tuple[str, ...]]] = {
    "analyze": {
        "plots": (
            "gain", "similarity", "structure", "drift", "confusion", "calibration", "distance", "tsne", "activation", "prototypes",
            "reliability",
        ),
        "formats": ("png", "pdf", "svg"),
    },
    "check": {"format": ("text", "json")},
    "convert": {"to": ("ours", "official")},
    "dashboard": {"kind": ("training", "weights")},
    "evaluate": {
        "tables": ("markdown", "csv", "latex"),
        "corruptions": (
            "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost",
            "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression", "speckle_noise", "gaussian_blur",
            "spatter", "saturate", "imagenet_c", "cityscapes_c",
        ),
    },
    "export": {"format": ("onnx", "torch_export", "safetensors", "hub", "adapter")},
    "predict": {"save": ("mask", "color", "overlay", "confidence", "logits"), "ids": ("train", "label", "acdc")},
}  # fmt: skip
"""The names by command and setting."""
SEVERAL = ("plots", "formats", "tables", "corruptions", "save")
"""Settings that may have several names, or null; the others have one."""
CLASS_LISTS = ("cityscapes", "voc", "coco")
"""Lists of classes that `text` knows by name."""


def refuse_class_list(asked: Any) -> None:
    """Refuse a name of a list of classes that `text` does not know; a list of names may hold any."""
    if isinstance(asked, str) and asked not in CLASS_LISTS:
        raise ConfigurationError(f"classes={asked}: expected a list of names, as classes=[road,sky], or one of {', '.join(CLASS_LISTS)}.")


def refuse_unknown(command: str, settings: Mapping[Any, Any]) -> None:
    """Refuse names that the settings of a command do not know."""
    for key, names in CHOICES.get(command, {}).items():
        if key in SEVERAL:
            chosen(key, settings[key], names)
        else:
            one_of(key, settings[key], names)


def severities(corruptions: Any, severity: Any) -> list[int]:
    """The severities at which images are corrupted: those that are given, or else 3.

    Raises:
        ConfigurationError: They are not 1 to 5, or nothing is corrupted.
    """
    if corruptions is None and severity is not None:
        raise ConfigurationError(f"severity={severity}: nothing is corrupted. Name corruptions, such as corruptions=cityscapes_c.")
    given: list[Any] = [3] if severity is None else list(severity) if isinstance(severity, Sequence) else [severity]
    if any(isinstance(one, bool) or one not in range(1, 6) for one in given):
        raise ConfigurationError(f"severity={severity}: expected 1 (weak) to 5, or several of them: severity=[1,3,5].")
    if corruptions is not None and not (corruptions and given):
        raise ConfigurationError(f"corruptions={corruptions} severity={severity}: expected a kind and a severity at least. Name some.")
    return given


def one_of(key: str, value: Any, known: Collection[str]) -> str:
    """The name that a setting gives, which is one of the known ones.

    Raises:
        ConfigurationError: It is none of them.
    """
    if not isinstance(value, str) or value not in known:
        raise ConfigurationError(f"{key}={value}: there is no {value}; choose among {', '.join(known)}.")
    return value


def chosen(key: str, value: Any, known: Collection[str]) -> list[str] | None:
    """The names that a setting gives, one or several, in the order of the known ones; None for null.

    Raises:
        ConfigurationError: A name is not known.
    """
    if value is None:
        return None
    given = [str(name) for name in ([value] if isinstance(value, str) or not isinstance(value, Iterable) else value)]
    if unknown := [name for name in given if name not in known]:
        raise ConfigurationError(f"{key}={value}: there is no {', '.join(unknown)}; choose among {', '.join(known)}.")
    return [name for name in known if name in given]
