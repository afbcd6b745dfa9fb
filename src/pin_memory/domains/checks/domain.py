"""Whether a data set is there, complete and as expected."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from typing import Any

import numpy as np

from pin_memory.domains.checks.files import Inspected, inspect_pair, verify_pair
from pin_memory.domains.checks.findings import Findings
from pin_memory.domains.checks.records import Depth, DomainReport, Request, SplitReport
from pin_memory.domains.loading.class_statistics import class_shares, store_counts, stored_counts
from pin_memory.domains.loading.data_module import DomainDataModule
from pin_memory.domains.loading.parallel import in_parallel
from pin_memory.domains.readers.base import Domain
from pin_memory.domains.readers.layouts import MissingDataError
from pin_memory.domains.readers.splits import evenly_spaced
from pin_memory.utils.errors import ConfigurationError, DataError

_THREADS = 8  # verify files; more than CPUs, since they mostly wait for the disk


def check_domain(request: Request, depth: Depth) -> tuple[DomainReport, list[Domain]]:
    """Look at a data set; the second is its opened splits."""
    module, root = request.module, request.module.root
    options = module.reader_options
    findings = Findings(depth.accept, lenient_pairs=options.get("unmatched", module.reader.unmatched) == "report")
    opened: list[Domain] = []
    with _quiet_readers():
        for split in request.splits:
            try:
                opened.append(_open(module, split))
            except MissingDataError as error:
                findings.add("missing", split, error.report)
            except DataError as error:
                findings.add("unusable", split, str(error))
            except ConfigurationError as error:
                if request.needed:
                    raise
                findings.add("note", split, str(error))
    absent = not opened and (not root.is_dir() or not any(root.iterdir()))
    if opened and not request.needed:
        findings.soften_missing()
    # Stand-ins are few, and a list of one's own may name as few as it likes.
    complete = not module.stand_in and options.get("split_file") is None
    splits = [_check_split(domain, depth, findings, module.stand_in, complete) for domain in opened]
    report = DomainReport(request.names, module.title, str(root), request.needed, absent, module.stand_in, splits, findings.merged())
    return report, opened


def _open(module: DomainDataModule, split: str) -> Domain:
    """Open a split as training does; where that refuses files without partner, without them, so that the others are looked at, too."""
    try:
        return module.dataset(split)
    except MissingDataError:
        raise
    except DataError:
        lenient = copy(module)
        lenient.reader_options = module.reader_options | {"unmatched": "report"}
        return lenient.dataset(split)


def survey_splits(module: DomainDataModule) -> list[str]:
    """The splits of a data set; "test" only where it is not the validation split."""
    reader = module.reader
    return ["train", "val", *(["test"] if reader.test_split == "test" or "test" in reader.official_counts else [])]


def _check_split(domain: Domain, depth: Depth, findings: Findings, stand_in: bool, complete: bool) -> SplitReport:
    """Look at an opened split: count, verify every file, decode some; `complete` says whether all published pairs are expected."""
    found, split = domain.found, domain.split
    own_folder = domain.layout.by_folder and domain.split_file is None
    report = SplitReport(
        split=split,
        layout=domain.layout.name,
        encoding=domain.layout.encoding,
        own_folder=own_folder,
        images=len(found.images),
        labels=len(found.labels),
        pairs=len(domain),
        published=domain.official_counts.get(split, domain.official_counts.get(domain.folder_split)),
    )
    findings.add_unpaired(domain)
    if report.published and report.pairs < report.published and complete:
        findings.add_fewer(split, report.pairs, report.published)
    report.sizes = _verify(domain, findings)
    chosen = evenly_spaced(range(len(domain)), None if depth.deep else depth.sample)
    title = f"{domain.title}: decoding {split}"
    inspected = list(in_parallel(inspect_pair, domain, chosen, depth.workers, title))
    for item in inspected:
        findings.add_faults(split, item.faults)
    _count(domain, report, chosen, inspected, findings)
    if not stand_in:  # drawn by taste
        findings.add_unexpected_classes(domain, report.class_shares)
    return report


def _verify(domain: Domain, findings: Findings) -> dict[str, int]:
    """Look at all files without decoding them; returns the number of images of each size."""
    sizes: Counter[str] = Counter()
    with ThreadPoolExecutor(_THREADS) as pool:
        for size, faults in pool.map(verify_pair, domain.samples):
            findings.add_faults(domain.split, faults)
            if size:
                sizes[f"{size[0]}x{size[1]}"] += 1
    return dict(sizes.most_common())


def _count(domain: Domain, report: SplitReport, chosen: Sequence[int], inspected: list[Inspected], findings: Findings) -> None:
    """Sum up the pixels that were counted; a complete count is kept, and an earlier one used instead of a sample."""
    report.decoded = len(inspected)
    intact = [(domain.samples[index].label, item.raw) for index, item in zip(chosen, inspected, strict=True) if item.raw is not None]
    if intact:
        report.raw_values = _raw_values(domain, np.stack([raw for _, raw in intact]))
        findings.add_unlisted_values(domain, [path for path, _ in intact], np.stack([raw for _, raw in intact]))
    counted = [item.classes for item in inspected if item.classes is not None]
    counts = np.stack(counted) if counted else np.zeros((0, len(domain.label_space) + 1), np.int64)
    if len(counts) == len(domain):
        store_counts(domain, counts)
    elif (stored := stored_counts(domain)) is not None:
        counts = stored
    report.counted = len(counts)
    report.class_shares = dict(zip(domain.label_space.names, class_shares(counts).tolist(), strict=True))
    report.ignored_share = float(counts[:, -1].sum() / max(counts.sum(), 1))


def _raw_values(domain: Domain, raw: np.ndarray) -> dict[int, dict[str, Any]]:
    """Class and share of the raw ids that occur."""
    pixels = raw.sum(axis=0)
    names = dict(enumerate(domain.label_space.names))
    return {
        int(value): {"class": names.get(int(domain.table[value])), "share": float(pixels[value] / pixels.sum())}
        for value in np.flatnonzero(pixels)
    }


@contextmanager
def _quiet_readers() -> Iterator[None]:
    """Readers log their notes whenever a split is opened; the report has them, each once."""
    logger = logging.getLogger("pin_memory.domains")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
