"""Workspaces of Weights & Biases, made from the table of logged keys with the package wandb-workspaces; only `save` asks the network."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from pin_memory.loggers.keys import (
    BARS,
    CHART,
    COLUMNS,
    LINE,
    LOG_LINE,
    MEDIA,
    MEDIA_STEPS,
    SCORE_LINE,
    SECTIONS,
    TABLE,
    expression,
    panels,
)
from pin_memory.utils.choices import CHOICES, one_of
from pin_memory.utils.errors import ConfigurationError

KINDS = CHOICES["dashboard"]["kind"]
"""What `dashboard` makes: of trainings, or of a sweep over loss weights."""
X_AXIS = "trainer/global_step"
_SCORE = "val/miou"  # what a sweep is judged by; no target decides
_SHOWN = ("config:method_name.value", "config:network_name.value", f"summary:{_SCORE}", "summary:val/best_step", "summary:test/mean_miou")


def dashboard(kind: str, entity: str, project: str, targets: Sequence[str], parameters: Sequence[str] = ()) -> Any:
    """A workspace of a kind, not saved: `training_workspace` or `weights_workspace`.

    Raises:
        ConfigurationError: There is no such kind, a name is empty, or as these functions.
    """
    one_of("kind", kind, KINDS)
    if not entity or not project:
        raise ConfigurationError("A dashboard belongs to a project: set entity (user or team) and project.")
    return training_workspace(entity, project, targets) if kind == "training" else weights_workspace(entity, project, parameters, targets)


def training_workspace(entity: str, project: str, targets: Sequence[str]) -> Any:
    """The workspace of trainings: sources, losses, targets, memory, classes, panels and system.

    Args:
        entity: User or team.
        project: The project whose runs are shown.
        targets: Names of the target domains, whose media and charts have names of their own.

    Returns:
        A `wandb_workspaces.workspaces.Workspace`, not saved.

    Raises:
        ConfigurationError: The package wandb-workspaces is not installed.
    """
    ws, _ = _package()
    made = {name: found for name, found in _sections(targets).items() if found}
    return _workspace(entity, project, "pin_memory: trainings", made, ws)


def weights_workspace(entity: str, project: str, parameters: Sequence[str], targets: Sequence[str]) -> Any:
    """The workspace of a sweep over loss weights: parallel coordinates, importance, the score over each weight, curves of the sources.

    Args:
        entity: User or team.
        project: The project whose runs are shown.
        parameters: Dotted names of the settings that the sweep varies.
        targets: Names of the target domains.

    Returns:
        A `wandb_workspaces.workspaces.Workspace`, not saved.

    Raises:
        ConfigurationError: The package wandb-workspaces is not installed, or there are no parameters.
    """
    ws, wr = _package()
    if not parameters:
        raise ConfigurationError("parameters is empty; name the settings that the sweep varies: parameters=[method.weights.cohesion]")
    score = wr.SummaryMetric(_SCORE)
    axes = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(name), display_name=name) for name in parameters]
    axes.append(wr.ParallelCoordinatesPlotColumn(metric=score, display_name=_SCORE))
    made = _sections(targets)
    found = {
        "Weights": [
            wr.ParallelCoordinatesPlot(title="weights and source validation", columns=axes),
            wr.ParameterImportancePlot(with_respect_to=_SCORE),
        ],
        "Each weight": [wr.ScatterPlot(title=name, x=wr.Config(name), y=score) for name in parameters],
        **{name: made[name] for name in ("Sources", "Losses")},
    }
    shown = tuple(f"config:{name.replace('.', '.value.', 1) if '.' in name else name + '.value'}" for name in parameters)
    return _workspace(entity, project, "pin_memory: loss weights", found, ws, shown)


def specification(workspace: Any) -> str:
    """What would be sent, as JSON text: entity, project, name and the specification of the view; made and validated without the network."""
    view = workspace._to_model()
    content = json.loads(view.spec.model_dump_json(by_alias=True, exclude_none=True))
    about = {"entity": view.entity, "project": view.project, "name": view.display_name}
    return json.dumps(about | {"spec": content}, indent=2, ensure_ascii=False) + "\n"


def save(workspace: Any) -> str:
    """Make the view in the project, and return its address.

    Raises:
        ConfigurationError: There is no key, or the server does not take the view.
    """
    from pin_memory.loggers.wandb_key import has_key

    if not has_key():
        raise ConfigurationError("W&B has no API key here. `wandb login` stores one; output=FILE writes the dashboard without one.")
    try:
        return str(workspace.save().url)
    except Exception as error:  # of W&B, of its HTTP client
        where = f"{workspace.entity}/{workspace.project}"
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ConfigurationError(f"W&B does not take the dashboard for {where} ({text}). Check entity, project and key.") from error


def _sections(targets: Sequence[str]) -> dict[str, list[Any]]:
    """The panels of the table by section."""
    made: dict[str, list[Any]] = {section: [] for section in SECTIONS}
    for section, title, kind, keys in panels():
        made[section] += _panels(title, kind, keys, targets)
    return made


def _panels(title: str, kind: str, keys: Sequence[str], targets: Sequence[str]) -> list[Any]:
    """The panels of one line of the table; the columns of the table of runs are no panels."""
    _, wr = _package()
    named = [key.replace("<target>", target) for key in keys for target in (targets if "<target>" in key else ("",))]
    if kind in (LINE, LOG_LINE, SCORE_LINE):
        log_y = True if kind == LOG_LINE else None
        limits = (0, 1) if kind == SCORE_LINE else (None, None)
        some: dict[str, Any] = {"y": list(keys)}
        if any("<" in key for key in keys):
            some = {"metric_regex": f"^({'|'.join(expression(key).pattern for key in keys)})$"}
        return [wr.LinePlot(title=title, x=X_AXIS, log_y=log_y, range_y=limits, **some)]
    if kind in (MEDIA, MEDIA_STEPS):
        return [wr.MediaBrowser(title=title, media_keys=named, mode="gallery", gallery_axis="step" if kind == MEDIA_STEPS else "index")]
    if kind == TABLE:
        return [wr.WeavePanelSummaryTable(table_name=name) for name in named]
    if kind == BARS:
        return [wr.BarPlot(title=title, metrics=[wr.SummaryMetric(name) for name in named], range_x=(0, 1))]
    if kind == CHART:
        return [_chart(name, "target" if name == "test/miou" else "class", wr) for name in named]
    assert kind == COLUMNS, kind
    return []


def _chart(name: str, label: str, wr: Any) -> Any:
    """A bar chart as `wandb.plot.bar` logs it: a table `<name>_table` with a column of labels and one of IoUs."""
    chart = wr.CustomChart.from_table(f"{name}_table", {"label": label, "value": "IoU"}, {"title": name})
    chart.chart_name = "wandb/bar/v0"
    return chart


def _workspace(entity: str, project: str, name: str, found: dict[str, list[Any]], ws: Any, shown: Sequence[str] = ()) -> Any:
    """A workspace of named sections, the first ones open."""
    layout = ws.SectionLayoutSettings(columns=2, rows=2)
    sections = [
        ws.Section(name=section, panels=some, is_open=place < 4, layout_settings=layout)
        for place, (section, some) in enumerate(found.items())
    ]
    settings = ws.WorkspaceSettings(x_axis=X_AXIS, remove_legends_from_panels=False)
    columns = ["run:displayName", *_SHOWN[:2], *shown, *_SHOWN[2:]]
    return ws.Workspace(entity, project, name=name, sections=sections, settings=settings,
                        runset_settings=ws.RunsetSettings(pinned_columns=columns))  # fmt: skip


def _package() -> tuple[Any, Any]:
    """The modules of workspaces and of panels."""
    if find_spec("wandb_workspaces") is None:
        raise ConfigurationError("A dashboard needs the package wandb-workspaces: pip install -e '.[dashboard]' in a clone.")
    import wandb_workspaces.reports.v2 as wr
    import wandb_workspaces.workspaces as ws

    return ws, wr
