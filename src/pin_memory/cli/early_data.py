"""Domains and data of a training, looked at before torch is imported."""

import re
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from pin_memory.utils.choices import chosen, one_of
from pin_memory.utils.errors import ConfigurationError, DataError, SharedMistakeError

_PLACES = ("data.sources", "data.targets", "data.domains")


def refuse_missing_target(cfg: DictConfig) -> None:
    """Refuse data of which one domain is left out where nothing says which."""
    target = OmegaConf.select(cfg, "data.target", throw_on_resolution_failure=False)
    if target is None and "target" in list(cfg.data) and OmegaConf.is_interpolation(cfg.data, "target"):  # to nothing
        raise ConfigurationError(
            "data=leave_one_out: name the domain that is left out of training, +target=NAME, or leave out each once, sweep=leave_one_out."
        )


def refuse_missing_data(cfg: DictConfig) -> None:
    """Refuse a training without data, and folders that are not there; what lies in those that are there is looked at later."""
    target = OmegaConf.select(cfg, "data.target", throw_on_resolution_failure=False)
    domains = all_domains(cfg)
    if not cfg.test:  # then neither the targets nor the domain that is left out are read
        domains = {
            key: domain for key, domain in domains.items() if not key.startswith("data.targets.") and domain_name(key) != str(target)
        }
    if not domains:
        raise SharedMistakeError(
            f"There are no data to train on: choose an experiment, or add domains (+domain@data.sources.NAME=folder).\n{_experiments()}"
        )
    if OmegaConf.select(cfg, "data.stand_in"):
        return
    folder = Path(str(cfg.paths.data)).expanduser()
    roots = {key: root for key, domain in domains.items() if (root := _root(domain, folder)) and not root.exists()}
    below = [domain_name(key) for key, root in roots.items() if root.is_relative_to(folder)]
    if below and not folder.exists():
        what = f"paths.data={cfg.paths.data}: no such folder (looked for {folder.absolute()}). "
        what += f"Expected a folder with the data sets {', '.join(below)}. "
    elif roots:
        lines = "".join(f"\n  {key}.root={root}" for key, root in roots.items())
        what = f"{len(roots)} of {len(domains)} data sets are not there; no such folder (looked from {Path.cwd()}):{lines}\n"
    else:
        return
    other = " Name another folder, paths.data=DIR, or choose experiment=demo, which draws its own." if below else " Name other folders."
    raise DataError(f"{what}`pin-memory check` with the same settings says what each of them needs and where to get it.{other}")


def refuse_unknown_domains(cfg: DictConfig) -> None:
    """Refuse a target to leave out, and sources of the meta-test side, that are not among the domains."""
    sources = [domain_name(key) for key in all_domains(cfg) if not key.startswith("data.targets.")]
    target = OmegaConf.select(cfg, "data.target", throw_on_resolution_failure=False)
    if isinstance(target, str) and is_ours(cfg, "data"):
        one_of("target", target, sources)
    if is_ours(cfg, "method.split"):
        chosen("split.meta_test", cfg.method.split.get("meta_test"), [name for name in sources if name != target])


def all_domains(cfg: DictConfig) -> dict[str, Any]:
    """The settings of all domains, by their dotted keys."""
    found: dict[str, Any] = {}
    for place in _PLACES:
        domains: Any = OmegaConf.select(cfg, place)
        if domains and not OmegaConf.is_dict(domains):
            raise ConfigurationError(f"{place}={domains}: expected domains by name; add one with +domain@{place}.NAME={domains}.")
        found |= {f"{place}.{name}": domain for name, domain in (domains or {}).items()}
    return found


def _root(domain: object, folder: Path) -> Path | None:
    """The folder of a domain of the library or below `folder`; what `root` means to a class of the user is not known."""
    if not isinstance(domain, DictConfig) or not isinstance(root := domain.get("root"), str):
        return None
    path = Path(root).expanduser()
    return path if str(domain.get("_target_")).startswith("pin_memory.") or path.is_relative_to(folder) else None


def domain_name(key: str) -> str:
    """The name of a domain, which may have dots, by its dotted key."""
    return key.split(".", 2)[2]


def is_ours(cfg: DictConfig, key: str) -> bool:
    """Whether a setting names a class of the library; what settings mean to others is not known."""
    return str(OmegaConf.select(cfg, f"{key}._target_")).startswith("pin_memory.")


def _experiments() -> str:
    """All experiments, one line each with what its file says at its head."""
    names = [name for name in GlobalHydra.instance().config_loader().get_group_options("experiment") if not name.startswith("_")]
    folders = [Path(source.path) for source in HydraConfig.get().runtime.config_sources if source.schema == "file"]
    width = max(map(len, names), default=0)
    return "\n".join(f"  experiment={name:<{width}}  {_head(folders, name)}".rstrip() for name in names)


def _head(folders: list[Path], name: str) -> str:
    """The first comment of an experiment's file that is no package line, without what it says to try."""
    file = next((path for folder in folders if (path := folder / "experiment" / f"{name}.yaml").is_file()), None)
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file else []
    found = next((line for line in lines if line.startswith("#") and not re.match(r"#\s*@package", line)), "")
    return found.lstrip("# ").partition(" Try: ")[0]
