"""Domain-generalised semantic segmentation with a categorical memory (Pin the Memory, CVPR 2022).

Commands, each with `--help`: `python -m pin_memory.train`, `.evaluate`, `.compare`, `.predict`, `.analyze`, `.report`, `.dashboard`,
`.export`, `.check`, `.convert`, `.text` and `.stand_in`. In Python:

    from pin_memory import load_model
    mask = load_model("runs/demo/<time>").predict(rgb)
"""

from typing import TYPE_CHECKING, Any

from pin_memory.utils.installation import installed_version, warn_of_namesakes

if TYPE_CHECKING:
    from pin_memory.inference import Predictor
    from pin_memory.prediction.load import load_model

__version__ = installed_version()
__all__ = ["Predictor", "__version__", "load_model"]

warn_of_namesakes()


def __getattr__(name: str) -> Any:
    """Import torch only when a model is asked for, so that `--help` stays quick."""
    if name == "Predictor":
        from pin_memory.inference import Predictor

        return Predictor
    if name == "load_model":
        from pin_memory.prediction.load import load_model

        return load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
