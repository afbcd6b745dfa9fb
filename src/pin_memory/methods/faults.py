"""What was not finite in an iteration, and how it is told."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pin_memory.utils.distributed import gather_objects


class Fault(NamedTuple):
    """What was not finite in an iteration, and where it came from.

    Attributes:
        iteration: Number of the iteration, from 1.
        terms: In words, in the order of computation.
        domains: Domains that the first term is computed from.
        images: Sample names by domain.
        faulty_images: Sample names of the images whose own pixels are not finite.
    """

    iteration: int
    terms: list[str]
    domains: list[str]
    images: dict[str, list[str]]
    faulty_images: list[str]


def of_all_ranks(fault: Fault) -> Fault | None:
    """The faults of all ranks, which all have to ask, as one; None where none has any."""
    bad = [part for part in gather_objects(fault) if part.terms]
    if not bad:
        return None
    images = {name: [image for part in bad for image in part.images.get(name, [])] for part in bad for name in part.domains}
    faulty = [image for part in bad for image in part.faulty_images]
    return Fault(bad[0].iteration, list(dict.fromkeys(term for part in bad for term in part.terms)), list(images), images, faulty)


def describe(fault: Fault, classes: Sequence[str] = (), files: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Say what was not finite, and in which images to look.

    Args:
        fault: What was found.
        classes: Names of the memory's rows.
        files: Path by domain and sample name, where they are known.
    """
    terms = [_with_class(term, classes) for term in fault.terms]
    shown = "; ".join(terms[:6]) + (f"; and {len(terms) - 6} more" if len(terms) > 6 else "")
    lines = [f"Iteration {fault.iteration} has numbers that are not finite: {shown}."]
    for domain, names in fault.images.items():
        known = (files or {}).get(domain, {})
        lines.append(f"  Images of {domain}: " + ", ".join(str(known.get(name, name)) for name in names))
    if fault.faulty_images:
        lines.append("  Pixels that are not finite themselves: " + ", ".join(fault.faulty_images))
    return "\n".join(lines)


def _with_class(term: str, classes: Sequence[str]) -> str:
    """The name of the class beside the number of its memory row."""
    number = term.removeprefix("memory row ")
    return f"{term} ({classes[int(number)]})" if number != term and int(number) < len(classes) else term
