"""The adapter of a checkpoint in peft's format, for the same backbone elsewhere."""

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save

from pin_memory.networks.lora import adapted_layers, trunk_of
from pin_memory.networks.lora_files import CONFIG, TENSORS, adapter_config, adapter_tensors
from pin_memory.runs import checkpoints
from pin_memory.utils.errors import ConfigurationError, OutputError
from pin_memory.utils.files import atomic_write, report_write_errors, write_text


def write_adapter(run_or_checkpoint: Path, folder: Path, trust: Sequence[str] = (), pretrained: str | None = None) -> list[str]:
    """Write `adapter_config.json` and `adapter_model.safetensors`, and return the names of the layers that they adapt.

    The names are those of the network that the backbone is made of, timm's for a network of timm: `blocks.0.attn.qkv`.
    """
    path = checkpoints.find_checkpoint(run_or_checkpoint)
    method, checkpoint = checkpoints.load_method(path, trust, pretrained)
    backbone = method.network.backbone
    trunk = trunk_of(backbone)
    layers = dict(adapted_layers(trunk))
    if not layers:
        raise ConfigurationError(f"format=adapter: {path} has no adapter; it was not trained with +adapter=lora. Choose another format.")
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / CONFIG).is_file()):
        raise OutputError(f"output={folder}: expected a new or empty folder, or one with an adapter. Choose another folder.")
    layer, rank = next(iter(layers.values())), next(iter(layers.values())).rank
    base = str(checkpoint.cfg.network.backbone.get("name") or type(backbone).__name__)
    content = save(adapter_tensors(trunk), metadata={"format": "pt"})
    with report_write_errors(folder):
        with atomic_write(folder / TENSORS) as temporary:
            temporary.write_bytes(content)
        write_text(folder / CONFIG, adapter_config([*layers], rank, round(layer.scaling * rank, 6), layer.lora_dropout.p, base))
    return [*layers]
