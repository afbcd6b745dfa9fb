"""Domain-generalised semantic segmentation with a categorical memory (Pin the Memory, CVPR 2022).

Commands: `python -m pin_memory.train`, `.evaluate`, `.predict`, `.stand_in`, each with `--help`. In Python:

    from pin_memory import load_model
    mask = load_model("runs/demo/<time>").predict(rgb)
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pin_memory.inference import Predictor, load_model

__version__ = version("pin_memory")
__all__ = ["Predictor", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for, so that `--help` stays quick."""
    if name in ("Predictor", "load_model"):
        from pin_memory import inference

        return getattr(inference, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
