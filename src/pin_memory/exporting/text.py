"""Files of text prototypes, made by a text encoder of open_clip."""

import difflib
import importlib.util
import json
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
from omegaconf import DictConfig
from pydantic import Field
from safetensors.torch import save
from torch import Tensor

from pin_memory.domains.readers.coco import COCO_CLASSES
from pin_memory.domains.readers.voc import VOC_CLASSES
from pin_memory.memory.prompts import check_prompts, class_prototypes
from pin_memory.memory.text import CLASSES as KEY
from pin_memory.utils.choices import refuse_class_list
from pin_memory.utils.config import plain
from pin_memory.utils.errors import ConfigurationError
from pin_memory.utils.files import atomic_write, report_write_errors
from pin_memory.utils.installation import install_hint
from pin_memory.utils.labels import BACKGROUND, CLASSES
from pin_memory.utils.text_files import PUBLISHED
from pin_memory.utils.validation import check_values

LISTS = {"cityscapes": list(CLASSES), "voc": [BACKGROUND, *VOC_CLASSES], "coco": [BACKGROUND, *COCO_CLASSES]}
"""Classes of the readers by name; every data set of streets has Cityscapes'."""
_OPENAI = "MIT (OpenAI CLIP)"
_BATCH = 256  # texts
_Names = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
_RULES: dict[str, Any] = {
    "output": str, "classes": str | _Names, "model": str, "weights": str, "prompts": _Names, "synonyms": dict[str, list[str]] | None,
    "licence": str | None,
}  # fmt: skip


def write_text(cfg: DictConfig) -> None:
    """Write text prototypes of `cfg.classes` to `cfg.output`, a safetensors file that says what they were made of."""
    settings = plain(cfg)
    check_values("", _RULES, {key: settings[key] for key in _RULES})
    output, classes = Path(cfg.output).expanduser(), _classes(settings["classes"])
    if output.suffix != ".safetensors":
        raise ConfigurationError(f"output={output}: expected a name that ends in .safetensors.")
    prompts, synonyms = settings["prompts"], settings["synonyms"] or {}
    check_prompts(classes, prompts, synonyms)  # before weights are downloaded
    rows = class_prototypes(text_encoder(cfg.model, cfg.weights), classes, prompts, synonyms)
    if not rows.isfinite().all():
        raise ConfigurationError(f"weights={cfg.weights}: the encoder's vectors are not finite. Is it a file of model={cfg.model}?")
    about = {KEY: classes, "prompts": prompts, "synonyms": synonyms}
    licence = cfg.licence or (_OPENAI if cfg.weights == "openai" else "not stated")
    metadata = {name: json.dumps(value) for name, value in about.items()}
    metadata |= {"model": cfg.model, "weights": cfg.weights, "licence": licence}
    with report_write_errors(output), atomic_write(output) as temporary:
        temporary.write_bytes(save({"text": rows.contiguous()}, metadata))
    print(f"Wrote {output}: {rows.shape[0]} classes, {rows.shape[1]} numbers each, licence of the weights: {licence}.")
    print(f"Next: pin-memory train +memory_start=procrustes text.path={output} text.dim={rows.shape[1]}")


def _classes(asked: str | list[str]) -> list[str]:
    """The class names of a list by name, or those that were typed."""
    refuse_class_list(asked)
    names = LISTS[asked] if isinstance(asked, str) else asked
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise ConfigurationError(f"classes: {twice[0]!r} comes twice.")
    return names


def text_encoder(model: str, weights: str) -> Callable[[list[str]], Tensor]:
    """What turns N texts into vectors `(N, D)`: a model of open_clip, with weights by their tag there or from a file."""
    if importlib.util.find_spec("open_clip") is None:
        raise ConfigurationError(f"Encoding text needs open_clip: {install_hint('text')}. Or, {PUBLISHED}")
    import open_clip

    if model not in (known := open_clip.list_models()):
        near = difflib.get_close_matches(model, known, 3) or known[:3]
        raise ConfigurationError(f"model={model}: open_clip has no such model. Did you mean {' or '.join(near)}?")
    path, tags = Path(weights).expanduser(), open_clip.list_pretrained_tags_by_model(model)
    if weights not in tags and not path.is_file():
        others = f"for this model open_clip has {', '.join(tags)}" if tags else "open_clip has none for this model"
        raise ConfigurationError(f"weights={weights}: no such file, and {others}.")
    try:
        made, tokenizer = _open_clip(model, weights if weights in tags else str(path))
    except MemoryError:
        raise
    except Exception as error:  # network, disk, another model's tensors, pickle: whatever it was, there are the same two ways out
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConfigurationError(
            f"model={model}, weights={weights}: open_clip could not make the encoder ({reason}). Give a file of these weights with"
            f" weights=FILE, or, {PUBLISHED}"
        ) from error

    @torch.inference_mode()
    def encode(texts: list[str]) -> Tensor:
        return torch.cat([made.encode_text(tokenizer(texts[start : start + _BATCH])) for start in range(0, len(texts), _BATCH)])

    return encode


def _open_clip(model: str, weights: str) -> tuple[Any, Any]:
    """A model in eval mode and its tokenizer; no code in a file of weights is run."""
    import open_clip

    logging.disable(logging.INFO)  # it reports every step of its own
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")  # it would compute something else
            made = open_clip.create_model(model, pretrained=weights, weights_only=True)
        return made.eval(), open_clip.get_tokenizer(model)
    finally:
        logging.disable(logging.NOTSET)
