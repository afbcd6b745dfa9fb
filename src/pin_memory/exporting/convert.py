"""From the authors' checkpoint format to ours and back, tensor by tensor and bit by bit."""

from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pin_memory.callbacks import AtomicCheckpointIO
from pin_memory.callbacks.run_record import RECORD
from pin_memory.exporting import official_names
from pin_memory.exporting.official_names import MEMORY_ANCHOR, MEMORY_ITEMS, Released
from pin_memory.methods.frozen_base import BASE
from pin_memory.networks.freezing import is_adapter
from pin_memory.networks.lora import merge_adapter
from pin_memory.runs import build, checkpoints
from pin_memory.utils.choices import CHOICES, one_of
from pin_memory.utils.errors import ConfigurationError

FORMATS = CHOICES["convert"]["to"]
ORIGIN = "official"  # key of our record under which a converted checkpoint keeps what the authors' file held besides its tensors
_NETWORK = "network."
_COMMAND_SETTINGS = ("source", "output", "to", "pretrained", "hydra")


def convert(cfg: DictConfig) -> None:
    """Write `cfg.output` from `cfg.source`."""
    source, output = Path(str(cfg.source)).expanduser(), Path(str(cfg.output)).expanduser()
    one_of("to", cfg.to, FORMATS)
    if not source.exists():
        raise ConfigurationError(f"source={source}: no such file (looked for {source.absolute()}).")
    source = checkpoints.find_checkpoint(source) if cfg.to == "official" else source
    if output.exists() and output.samefile(source):
        raise ConfigurationError(f"output={output} is the source itself. Choose another file.")
    if cfg.to == "official":
        write_official(source, output, cfg.pretrained)
        return
    if cfg.pretrained is not None:
        raise ConfigurationError(f"pretrained={cfg.pretrained}: a released checkpoint holds all weights of its network. Leave it out.")
    released = official_names.read_released(source)
    if RECORD in released.extras:
        raise ConfigurationError(f"source={source} is a checkpoint of this library already. Set to=official to turn it into the authors'.")
    hydra = HydraConfig.get()
    if not released.has_memory and not any(override.startswith("method=") for override in hydra.overrides.task):
        cfg = compose("convert", [*hydra.overrides.task, "method=erm"], return_hydra_config=True)
        hydra = cfg.hydra
    choices = {group: option for group, option in hydra.runtime.choices.items() if option and not group.startswith("hydra")}
    write_ours(released, source, output, cfg, choices)


def write_ours(released: Released, source: Path, output: Path, cfg: DictConfig, choices: dict[str, str]) -> None:
    """Write a checkpoint that `evaluate` and `predict` take.

    `cfg` and the `choices` of its groups say which network the content of `source` is of, and which domains belong to it.
    """
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in _COMMAND_SETTINGS])
    record = checkpoints.run_record(cfg, choices, output.resolve().parent, build.build_data(cfg))
    OmegaConf.update(cfg, "network.backbone.pretrained", None)  # the weights come from the checkpoint
    method = build.build_method(cfg)
    state = _fitted(released, method.network.state_dict(), source, choices.get("network", "of the settings"))
    scheduler = released.extras.get("scheduler")  # it was stepped once in each iteration
    content = {
        "state_dict": method.state_dict() | {f"{_NETWORK}{name}": tensor for name, tensor in state.items()},
        "global_step": int(scheduler.get("last_epoch") or 0) if isinstance(scheduler, dict) else 0,
        "epoch": int(released.extras.get("epoch") or 0),
        RECORD: record | {"source_validation": {}, ORIGIN: released.extras | {"names": released.names}},
    }
    AtomicCheckpointIO().save_checkpoint(content, output)
    memory = "no memory" if released.items is None else f"a memory of {' x '.join(map(str, released.items.shape))}"
    print(f"Wrote {output}: {len(released.state)} tensors and {memory}, epoch {content['epoch']}, method {method.name}.")
    print(f"Next: pin-memory evaluate checkpoint={output} paths.data=DIR")


def write_official(source: Path, output: Path, pretrained: str | None = None) -> None:
    """Write a checkpoint that the authors' code restores, from one of ours, with its adapter merged and its frozen weights in it.

    A converted checkpoint gets back all that the released one held, under its old names. For a run of this library the state of optimiser
    and schedule is left out: theirs numbers the parameters in another order.
    """
    content = official_names.read_containers(source)
    if not isinstance(content, dict) or RECORD not in content:
        raise ConfigurationError(f"source={source} holds no settings of a pin_memory run; to=official takes a checkpoint of this library.")
    state = content["state_dict"]
    if pretrained is not None or BASE in content or any(map(is_adapter, state)):
        method = checkpoints.load_method(source, pretrained=pretrained).method
        merge_adapter(method.network)
        state = method.state_dict()
    tensors = {name.removeprefix(_NETWORK): tensor for name, tensor in state.items() if name.startswith(_NETWORK)}
    items = tensors.pop(MEMORY_ITEMS, None)
    tensors.pop(MEMORY_ANCHOR, None)  # a constant of training
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("alignment.")}  # serves training alone
    state = _by_official_names(tensors)
    if unknown := [name for name in state if name in tensors and name.startswith("memory.")]:
        raise ConfigurationError(
            f"source={source}: the authors' networks have a categorical memory, found one with"
            f" {', '.join(unknown)}. Hand it over with export."
        )
    scores = list(content[RECORD]["source_validation"].values())
    new_extras = {"epoch": content["epoch"], "mean_iu": sum(scores) / len(scores) if scores else 0.0}
    extras = dict(content[RECORD].get(ORIGIN) or new_extras)
    names = extras.pop("names", None) or [official_names.WRAPPER + name for name in state]
    written: dict[str, Any] = {"state_dict": {name: state[official_names.unwrapped(name)] for name in names}, **extras}
    if items is not None:
        written["memory"] = items
    AtomicCheckpointIO().save_checkpoint(written, output)
    left_out = "" if "optimizer" in extras else "; without the state of optimiser and schedule"
    print(f"Wrote {output} in the authors' format: {len(names)} tensors{'' if items is None else ' and the memory'}{left_out}.")


def _by_official_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    deeplab_v2 = official_names.is_deeplab_v2(tensors)
    return {official_names.to_official(name, deeplab_v2): tensor for name, tensor in tensors.items()}


def _fitted(released: Released, own: dict[str, Tensor], source: Path, network: str) -> dict[str, Tensor]:
    """The released tensors by the names of our network, all of which must fit."""
    found = dict(released.state)
    expected = _by_official_names({name: tensor for name, tensor in own.items() if name != MEMORY_ITEMS})
    if MEMORY_ITEMS in own:
        expected["memory"] = own[MEMORY_ITEMS]
    if released.items is not None:
        found["memory"] = released.items
    if problems := checkpoints.misfits(found, expected):
        method = "method=pin_the_memory (or erm_memory), " if released.has_memory else "method=erm (or mldg, ibn_net), "
        raise ConfigurationError(
            f"source={source} does not fit the network {network}: tensors {problems}. Set what it was trained with:"
            f" {method if released.has_memory != (MEMORY_ITEMS in own) else ''}network=NAME, network.num_classes=K,"
            " network.backbone.instance_norm=ibn, ..."
        )
    renamed = {official_names.to_ours(name): tensor for name, tensor in released.state.items()}
    return renamed if released.items is None else renamed | {MEMORY_ITEMS: released.items}
