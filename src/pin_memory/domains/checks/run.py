"""From the configuration to the outcome of a check: which data sets, looked at one by one, reported and drawn on contact sheets."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from pin_memory.domains.checks.domain import Depth, Request, check_domain
from pin_memory.domains.checks.findings import Finding, Outcome
from pin_memory.domains.checks.text import as_json, as_text
from pin_memory.domains.loading.compatibility import identity, trained_validation
from pin_memory.domains.loading.data_module import DomainDataModule
from pin_memory.domains.loading.multi_source import MultiSourceDataModule
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import Images, Sample, image_files, seen_images
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.utils import pictures
from pin_memory.utils.choices import one_of
from pin_memory.utils.errors import DataError
from pin_memory.utils.files import file_name
from pin_memory.utils.labels import IGNORE, LabelSpace

FORMATS = {"text": as_text, "json": as_json}
_PAIRS, _COLUMNS = 8, 2  # pairs on a sheet, and next to each other
_TILE = (460, 300)  # largest width and height of a picture


def run_check(cfg: DictConfig) -> Outcome:
    """Check the data sets that the configuration trains and tests on, or else all below `paths.data`; print and draw what was found."""
    one_of("format", cfg.format, FORMATS)
    depth = Depth(cfg.deep, cfg.sample, cfg.workers, (cfg.accept,) if isinstance(cfg.accept, str) else tuple(cfg.accept))
    data: MultiSourceDataModule = instantiate(cfg.data)
    data.prepare_data()
    requests = _needed(data) or _survey(str(cfg.paths.data))
    reports = []
    sources: dict[str, Images] = {}
    splits: dict[str, dict[str, Domain]] = {}  # of the sources
    for request in requests:
        report, opened = check_domain(request, depth)
        reports.append(report)
        images = image_files([sample for domain in opened for sample in domain.samples])
        if request.needed and "train" in request.splits:
            sources[request.names[0]] = images
            splits[request.names[0]] = {domain.split: domain for domain in opened}
        elif request.needed:  # sources come before targets
            report.findings[:0] = _seen(images, sources)
        if cfg.panel is not None and opened:
            write_sheet(Path(str(cfg.panel)).expanduser() / f"{file_name(request.names[0])}.jpg", request.names[0], opened)
    for name, sentence in trained_validation(splits):
        next(report for report in reports if name in report.names).findings.append(Finding("shared_image", "warning", sentence, ["val"]))
    outcome = Outcome(str(cfg.paths.data), depth.deep, reports)
    print(FORMATS[cfg.format](outcome))
    return outcome


def _needed(data: MultiSourceDataModule) -> list[Request]:
    """What training and testing need; data that are listed under several names are looked at once."""
    needed = [(name, module, ["train", "val"]) for name, module in data.sources.items()]
    needed += [(name, module, ["test"]) for name, module in data.targets.items()]
    requests: list[Request] = []
    for name, module, splits in needed:
        same = next((request for request in requests if identity(request.module) == identity(module)), None)
        if same is None:
            requests.append(Request(module, [name], splits, needed=True))
        else:
            same.names.append(name)
            same.splits += [split for split in splits if split not in same.splits]
    return requests


def _seen(images: Images, sources: Mapping[str, Images]) -> list[Finding]:
    """A finding for each source that has images of a target, by whatever names or links, since training refuses that."""
    found = []
    for source, trained in sources.items():
        if seen := seen_images(images, trained):
            sentence = f"{len(seen)} images are also among those of the source {source}, such as {seen[0]}"
            found.append(Finding("shared_image", "error", sentence, ["test"], seen))
    return found


def _survey(data: str) -> list[Request]:
    """Every data set of the group `domain` that can be opened without further settings."""
    names = GlobalHydra.instance().config_loader().get_group_options("domain")
    names = sorted(name for name in names if not name.startswith("_"))
    # Quoted, since a path may hold signs that mean something to Hydra.
    quoted = data.replace("\\", "\\\\").replace("'", "\\'")
    cfg = compose("train", overrides=[f"paths.data='{quoted}'", *(f"+domain@data.sources.{name}={name}" for name in names)])
    requests = []
    for name in names:
        if not OmegaConf.missing_keys(cfg.data.sources[name]):
            module: DomainDataModule = instantiate(cfg.data.sources[name], _convert_="all")
            reader = module.reader
            splits = ["train", "val", *(["test"] if reader.test_split == "test" or "test" in reader.official_counts else [])]
            requests.append(Request(module, [name], splits, needed=False))
    # Of several options for one folder, such as ACDC's conditions, the one called like the folder stands for all.
    complete = {request.module.root for request in requests if request.names[0] == request.module.root.name}
    return [request for request in requests if request.module.root not in complete or request.names[0] == request.module.root.name]


def write_sheet(path: Path, name: str, splits: list[Domain]) -> None:
    """Write the sheet of a data set, `name` in the configuration; each of its opened splits gets its share of the pairs, evenly spaced."""
    tiles: list[np.ndarray] = []
    present: set[int] = set()
    for place, domain in enumerate(splits):
        for sample in evenly_spaced(domain.samples, _PAIRS // len(splits) + (place < _PAIRS % len(splits))):
            tile, classes = _pair(domain, sample)
            tiles.append(tile)
            present |= classes
    title = f"{name}: {splits[0].title}, {splits[0].layout.name}, labels: {splits[0].layout.encoding}"
    body = pictures.grid(tiles, _COLUMNS)
    extra = [("ignored", pictures.STRIPES[1])] if IGNORE in present else []
    strip = pictures.legend(present, body.shape[1], extra=extra, space=splits[0].label_space)
    pictures.write_image(path, pictures.framed(np.concatenate([pictures.text_line(title, body.shape[1], 20), body, strip])))


def _pair(domain: Domain, sample: Sample) -> tuple[np.ndarray, set[int]]:
    """Image and labelled image side by side with a caption, and the classes in it; a damaged pair is shown as grey tiles."""
    title = f"{domain.split}  {sample.name}"
    try:
        image, label = domain.read_pair(sample)
    except (DataError, Image.DecompressionBombError):
        blank = np.full((_TILE[1], _TILE[0], 3), 225, np.uint8)
        return pictures.caption(pictures.side_by_side([blank, blank], gap=2), f"{title}  (cannot be shown)", 14), set()
    size = pictures.size_within(image, *_TILE, enlarge=True)
    small, mask = pictures.resize(image, size), pictures.resize(label, size)
    shown = pictures.side_by_side([small, labelled(small, mask, domain.label_space)], gap=2)
    return pictures.caption(shown, f"{title}  {image.shape[1]}x{image.shape[0]}", 14), set(np.unique(label).tolist())


def labelled(image: np.ndarray, mask: np.ndarray, space: LabelSpace) -> np.ndarray:
    """Lay train ids over a picture; what is ignored becomes dark and hatched."""
    return pictures.hatch(pictures.overlay(image, mask, 0.7, space), mask == IGNORE)
