"""Whether a data set is there, complete and as expected."""

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import Field

from pin_memory.domains.checks.files import Inspected, inspect_pair, verify_pair
from pin_memory.domains.checks.findings import DomainReport, Fault, Findings, SplitReport
from pin_memory.domains.checks.values import add_values
from pin_memory.domains.loading.class_statistics import class_shares, store_counts, stored_counts
from pin_memory.domains.loading.data_module import DomainDataModule, shared_with_training
from pin_memory.domains.loading.parallel import in_parallel
from pin_memory.domains.loading.transforms import TrainTransform
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import MissingDataError
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.utils.errors import ConfigurationError, DataError, first_names
from pin_memory.utils.validation import validated

_THREADS = 8  # verify files; more than CPUs, since they mostly wait for the disk


@dataclass
class Request:
    """A data set to look at."""

    module: DomainDataModule
    names: list[str]  # in the configuration; several where it is listed several times
    splits: list[str]  # that are needed
    needed: bool  # whether it is an error when it is not there


@validated("")
@dataclass(frozen=True)
class Depth:
    """How closely to look."""

    deep: bool = False  # decode all pairs, not a sample
    sample: Annotated[int, Field(ge=1)] = 20  # pairs of each split that are decoded otherwise, evenly spaced
    workers: Annotated[int, Field(ge=0)] | None = None  # processes that decode; None for one per CPU
    accept: tuple[str, ...] = ()  # kinds of findings that are no errors


def check_domain(request: Request, depth: Depth) -> tuple[DomainReport, list[Domain]]:
    """Look at a data set; the second is its opened splits."""
    module, root = request.module, request.module.root
    options = module.reader_options
    by_lists = ("shared_image",) if options.get("split_file") is not None else ()  # a list of one's own may name an image twice
    findings = Findings((*depth.accept, *by_lists), lenient_pairs=(options.get("unmatched") or module.reader.unmatched) == "report")
    lenient = copy(module)
    if options.get("unmatched") in (None, "raise"):  # files without partner are findings, so that the others are looked at, too
        lenient.reader_options = options | {"unmatched": "report"}
    opened: list[Domain] = []
    missing: dict[str, str] = {}
    for split in request.splits:
        try:
            opened.append(lenient.dataset(split))
        except MissingDataError as error:
            missing[split] = error.report
        except DataError as error:
            findings.add("unusable", split, str(error))
        except ConfigurationError as error:
            if request.needed:
                raise
            findings.add("note", split, str(error))
    for split, report in missing.items():
        if opened and not request.needed:  # others are there, and nobody asked for this one
            findings.add("missing_split", split, report.partition("\n")[0].rstrip("."))
        else:
            findings.add("missing", split, report)
    absent = not opened and (not root.is_dir() or not any(root.iterdir()))
    # Stand-ins are few, and a list of one's own may name as few as it likes.
    complete = not module.stand_in and options.get("split_file") is None
    if shared := shared_with_training({domain.split: domain for domain in opened}):
        findings.add_faults("val", [Fault("shared_image", place, "also in train") for place in shared])
    splits = [_check_split(domain, depth, findings, module.stand_in, complete) for domain in opened]
    if request.needed:
        _add_small_images(module, splits, findings)
    reported = DomainReport(request.names, module.title, str(root), request.needed, absent, module.stand_in, splits, findings.merged())
    return reported, opened


def _check_split(domain: Domain, depth: Depth, findings: Findings, stand_in: bool, complete: bool) -> SplitReport:
    """Look at an opened split: count, verify every file, decode some; `complete` says whether all published pairs are expected."""
    found, split = domain.found, domain.split
    report = SplitReport(
        split=split,
        layout=domain.layout.name,
        encoding=domain.layout.encoding,
        own_folder=domain.layout.by_folder and domain.split_file is None,
        images=len(found.images),
        labels=len(found.labels),
        pairs=len(domain),
        published=domain.official_counts.get(split, domain.official_counts.get(domain.folder_split)),
    )
    findings.add_unpaired(domain)
    if report.published and report.pairs < report.published and complete:
        findings.add_faults(split, [Fault("fewer", f"{split} {report.pairs:,} of {report.published:,}")])
    sizes: Counter[str] = Counter()
    shared = set(domain.label_sources())  # a file that is the label of all images is not read anew for each
    with ThreadPoolExecutor(_THREADS) as pool:
        for size, faults in pool.map(partial(verify_pair, shared=shared), domain.samples):  # all files, without decoding them
            findings.add_faults(split, faults)
            if size:
                sizes[f"{size[0]}x{size[1]}"] += 1
    report.sizes = dict(sizes.most_common())
    chosen = evenly_spaced(range(len(domain)), None if depth.deep else depth.sample)
    title = f"{domain.title}: decoding {split}"
    inspected = list(in_parallel(inspect_pair, domain, chosen, depth.workers, title))
    for item in inspected:
        findings.add_faults(split, item.faults)
    _count(domain, report, chosen, inspected, findings)
    unexpected = [name for name, share in report.class_shares.items() if share > 0 and name not in domain.classes]
    if unexpected and domain.folder_split == domain.test_split and not stand_in:  # those are drawn by taste
        findings.add("unexpected_class", split, f"these classes should not occur in {domain.title}: {', '.join(unexpected)}")
    return report


def _add_small_images(module: DomainDataModule, splits: Sequence[SplitReport], findings: Findings) -> None:
    """Warn of training images that are smaller than the crop, at 1 or at the middle of the scales if that is less, but within them."""
    if not isinstance(augmentation := module.augmentation, TrainTransform) or module.stand_in:
        return
    (height, width), scale = augmentation.crop_size, augmentation.scale
    factor = max(scale[0], min(1.0, sum(scale) / 2))
    for split in (split for split in splits if split.split == "train"):
        sides = {size: [int(side) for side in size.split("x")] for size in split.sizes}
        small = [size for size, side in sides.items() if side[0] * factor < width or side[1] * factor < height]
        if small:
            count, total = sum(split.sizes[size] for size in small), sum(split.sizes.values())
            at = "" if factor == 1 else f", at {factor:g} times their size (augmentation.scale={list(scale)})"
            sentence = (
                f"{count:,} of {total:,} images are smaller than the crops, {width}x{height}{at}: {first_names(small)}. Many of their crops"
                " have a black border that no loss counts. Lower augmentation.crop_size, or raise augmentation.scale."
            )
            findings.add("small_images", split.split, sentence)


def _count(domain: Domain, report: SplitReport, chosen: Sequence[int], inspected: list[Inspected], findings: Findings) -> None:
    """Sum up the pixels that were counted; a complete count is kept, and an earlier one used instead of a sample."""
    report.decoded = len(inspected)
    intact = [(domain.samples[index].label, item) for index, item in zip(chosen, inspected, strict=True) if item.raw is not None]
    names = domain.label_space.names
    pixels = np.sum([np.zeros(256, np.int64), *(item.raw for item in inspected if item.raw is not None)], axis=0)
    for value in np.flatnonzero(pixels).tolist():
        name = dict(enumerate(names)).get(int(domain.table[value]))
        report.raw_values[value] = {"class": name, "share": float(pixels[value] / pixels.sum())}
    counted = [item.classes for item in inspected if item.classes is not None]
    counts = np.stack(counted) if counted else np.zeros((0, len(names) + 1), np.int64)
    if len(counts) == len(domain):
        store_counts(domain, counts)
    elif (stored := stored_counts(domain)) is not None:
        counts = stored
    report.counted = len(counts)
    report.class_shares = dict(zip(names, class_shares(counts).tolist(), strict=True))
    report.ignored_share = float(counts[:, -1].sum() / max(counts.sum(), 1))
    add_values(domain, report, intact, pixels, findings)
