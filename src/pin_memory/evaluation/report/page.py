"""From a template and its values to one page: everything inline, everything from files escaped, nothing fetched."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2

from pin_memory.utils.files import report_write_errors, write_text

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **values: Any) -> str:
    """Fill the values into a template: all are escaped, and the page forbids itself to load anything or to run another script."""
    script = (_TEMPLATES / "script.js").read_text(encoding="utf-8")
    style = (_TEMPLATES / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
    environment.filters["signed"] = lambda value: "–" if value is None else f"{100 * value:+.1f}"
    environment.filters["width"] = lambda value: f"{100 * min(max(value or 0.0, 0.0), 1.0):.2f}%"
    return environment.get_template(template).render(script=script, style=style, policy=policy, **values)


def write_page(path: Path, html: str) -> None:
    """Write a page, completely or not at all."""
    with report_write_errors(path, "the report ", other="file"):
        write_text(path, html)
