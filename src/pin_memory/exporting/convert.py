"""From the authors' checkpoint format to ours and back, tensor by tensor and bit by bit."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from pin_memory.callbacks import AtomicCheckpointIO
from pin_memory.callbacks.run_record import RECORD
from pin_memory.exporting import official_names
from pin_memory.exporting.official_names import MEMORY_ITEMS, Released
from pin_memory.runs import build, checkpoints
from pin_memory.utils.errors import ConfigurationError

ORIGIN = "official"
"""Key of our record under which a converted checkpoint keeps what the authors' file held besides its tensors."""
_NETWORK = "network."
_COMMAND_SETTINGS = ("source", "output", "to", "hydra")


def read_source(source: Path) -> Released:
    """Read the released checkpoint that is to be converted.

    Raises:
        ConfigurationError: It is damaged, holds code, or is of another format; also when it is one of ours already.
    """
    released = official_names.read_released(source)
    if RECORD in released.extras:
        raise ConfigurationError(f"source={source} is a checkpoint of this library already. Say to=official to turn it into the authors'.")
    return released


def write_ours(released: Released, source: Path, output: Path, cfg: DictConfig, choices: dict[str, str]) -> None:
    """Write a checkpoint that `evaluate` and `predict` take.

    Args:
        released: The content of `source`.
        source: Named in errors; never written to.
        output: The file to write, whole or not at all.
        cfg: The configuration of `convert`: which network it is, and which domains belong to it.
        choices: The option chosen of each configuration group.

    Raises:
        ConfigurationError: The tensors do not fit the network, or `output` is the source.
        OutputError: The file cannot be written.
    """
    _keep(source, output)
    cfg = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key not in _COMMAND_SETTINGS])
    record = checkpoints.run_record(cfg, choices, output.resolve().parent, build.build_data(cfg))
    OmegaConf.update(cfg, "network.backbone.pretrained", None)  # the weights come from the checkpoint
    method = build.build_method(cfg)
    state = _fitted(released, method.network.state_dict(), source, choices.get("network", "of the settings"))
    content = {
        "state_dict": method.state_dict() | {f"{_NETWORK}{name}": tensor for name, tensor in state.items()},
        "global_step": _iterations(released.extras),
        "epoch": int(released.extras.get("epoch") or 0),
        RECORD: record | {"source_validation": {}, ORIGIN: released.extras | {"names": released.names}},
    }
    AtomicCheckpointIO().save_checkpoint(content, output)
    memory = "no memory" if released.items is None else f"a memory of {' x '.join(map(str, released.items.shape))}"
    print(f"Wrote {output}: {len(released.state)} tensors and {memory}, epoch {content['epoch']}, method {method.name}.")
    print(f"Next: pin-memory evaluate checkpoint={output} paths.data=DIR")


def write_official(source: Path, output: Path) -> None:
    """Write a checkpoint that the authors' code restores.

    A converted checkpoint gets back all that the released one held, under its old names. For a run of this library the state of optimiser
    and schedule is left out: theirs numbers the parameters in another order.

    Args:
        source: A run folder or a checkpoint file of ours.
        output: The file to write, whole or not at all.

    Raises:
        ConfigurationError: `source` is none of ours, or is `output`.
        OutputError: The file cannot be written.
    """
    source = checkpoints.find_checkpoint(source)
    _keep(source, output)
    content = official_names.read_plain(source)
    if not isinstance(content, dict) or RECORD not in content:
        raise ConfigurationError(f"source={source} holds no settings of a pin_memory run; to=official takes a checkpoint of this library.")
    tensors = {k.removeprefix(_NETWORK): v for k, v in content["state_dict"].items() if k.startswith(_NETWORK)}
    items = tensors.pop(MEMORY_ITEMS, None)
    state = _theirs(tensors)
    record = content[RECORD]
    extras = dict(record.get(ORIGIN) or _new_extras(content))
    names = extras.pop("names", None) or [official_names.WRAPPER + name for name in state]
    written: dict[str, Any] = {"state_dict": {name: state[official_names.unwrapped(name)] for name in names}, **extras}
    if items is not None:
        written["memory"] = items
    AtomicCheckpointIO().save_checkpoint(written, output)
    left_out = "" if "optimizer" in extras else "; without the state of optimiser and schedule"
    print(f"Wrote {output} in the authors' format: {len(names)} tensors{'' if items is None else ' and the memory'}{left_out}.")


def _iterations(extras: dict[str, Any]) -> int:
    """Iterations of the released training: its schedule was stepped once in each. 0 where the file does not tell."""
    scheduler = extras.get("scheduler")
    return int(scheduler.get("last_epoch") or 0) if isinstance(scheduler, dict) else 0


def _new_extras(content: dict[str, Any]) -> dict[str, Any]:
    """Epoch and mean IoU of a run of ours; the mean over the sources' validation splits, 0 before the first validation."""
    scores = list(content[RECORD]["source_validation"].values())
    return {"epoch": content["epoch"], "mean_iu": sum(scores) / len(scores) if scores else 0.0}


def _theirs(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by their released names."""
    deeplab_v2 = official_names.is_deeplab_v2(tensors)
    return {official_names.to_official(name, deeplab_v2): tensor for name, tensor in tensors.items()}


def _fitted(released: Released, own: dict[str, Tensor], source: Path, network: str) -> dict[str, Tensor]:
    """The released tensors by the names of our network, after a check that every one fits.

    Raises:
        ConfigurationError: They do not; names the first missing, unexpected and mis-shaped one, by their released names.
    """
    found = dict(released.state)
    expected = _theirs({name: tensor for name, tensor in own.items() if name != MEMORY_ITEMS})
    if MEMORY_ITEMS in own:
        expected["memory"] = own[MEMORY_ITEMS]
    if released.items is not None:
        found["memory"] = released.items
    missing, unexpected = [k for k in expected if k not in found], [k for k in found if k not in expected]
    shapes = {k: (tuple(found[k].shape), tuple(v.shape)) for k, v in expected.items() if k in found and found[k].shape != v.shape}
    faults = [f"{len(names)} {kind}, first {names[0]}" for kind, names in (("missing", missing), ("unexpected", unexpected)) if names]
    if shapes:
        name, (theirs, ours) = next(iter(shapes.items()))
        faults.append(f"{len(shapes)} of another shape, first {name} with {theirs} instead of {ours}")
    if faults:
        raise ConfigurationError(
            f"source={source} does not fit the network {network}: tensors {'; '.join(faults)}."
            f" Say what it was trained with: {_missing_choice(released, MEMORY_ITEMS in own)}network=NAME, network.num_classes=K,"
            " network.backbone.instance_norm=ibn, ..."
        )
    renamed = {official_names.to_ours(name): tensor for name, tensor in released.state.items()}
    return renamed if released.items is None else renamed | {MEMORY_ITEMS: released.items}


def _keep(source: Path, output: Path) -> None:
    """Refuse to write over the source.

    Raises:
        ConfigurationError: `output` is the same file.
    """
    if output.exists() and output.samefile(source):
        raise ConfigurationError(f"output={output} is the source itself. Choose another file.")


def _missing_choice(released: Released, with_memory: bool) -> str:
    """The method to say when the memory of the file and that of the network are not the same; empty where they are."""
    if released.has_memory == with_memory:
        return ""
    return "method=pin_the_memory (or erm_memory), " if released.has_memory else "method=erm (or mldg, ibn_net), "
