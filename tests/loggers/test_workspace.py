"""W&B's workspaces: made and validated without network or key, from the table of logged keys."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from pin_memory.loggers.keys import COLUMNS, ROWS, find
from pin_memory.loggers.workspace import dashboard, save, specification
from pin_memory.utils.config import config_directory
from pin_memory.utils.errors import ConfigurationError

TARGETS = ["city", "country"]
WEIGHTS = ["method.weights.cohesion", "network.memory.momentum"]
needs_package = pytest.mark.skipif(
    "not __import__('importlib.util').util.find_spec('wandb_workspaces')", reason="needs the extra dashboard"
)


def sections(kind: str) -> dict[str, list[dict[str, Any]]]:
    """The panels of each section of what would be sent."""
    text = json.loads(specification(dashboard(kind, "me", "mine", TARGETS, WEIGHTS)))
    assert (text["entity"], text["project"]) == ("me", "mine")
    return {section["name"]: section["panels"] for section in text["spec"]["section"]["panelBankConfig"]["sections"]}


def shown_keys(panels: list[dict[str, Any]]) -> set[str]:
    """The keys that panels show: metrics, summaries, media and tables; what a regular expression finds among all logged names."""
    text = json.dumps(panels)
    logged = {key.replace("<step>", "inner_").replace("<source>", "gtav") for row in ROWS for key in row.keys}
    expressions = [panel["config"].get("metricRegex") for panel in panels]
    found = {key for key in logged for expression in expressions if expression and re.search(expression, key)}
    names = [name for name in re.findall(r'"([^"]+)"', text) if "/" in name or name in ("lr", "inner_lr")]
    return found | {re.sub(r"^(?:summary_metrics\.|summary:)|_table$", "", name) for name in names}


@needs_package
def test_every_panel_of_the_table_is_in_its_section() -> None:
    made = sections("training")
    assert list(made) == ["Sources", "Losses", "Targets", "Memory", "Classes", "Panels", "System"]
    for row in ROWS:
        if not row.panel or row.plot == COLUMNS:
            continue
        keys = {
            key.replace("<step>", "inner_").replace("<source>", "gtav").replace("<target>", name) for key in row.keys for name in TARGETS
        }
        assert keys <= shown_keys(made[row.section]), row


@needs_package
def test_lines_show_nothing_that_is_not_logged_and_begin_where_a_step_begins() -> None:
    lines = [
        panel["config"] for panels in sections("training").values() for panel in panels if panel["viewType"] == "Run History Line Plot"
    ]
    assert len(lines) == 13
    assert {line["xAxis"] for line in lines} == {"trainer/global_step"}
    assert all(find(key) for line in lines for key in line["metrics"])
    assert not any(re.search(line["metricRegex"], "loss/total") for line in lines if "metricRegex" in line)
    assert [line["yAxisMax"] for line in lines if "yAxisMax" in line] == [1.0]
    assert {line["chartTitle"] for line in lines if line.get("yLogScale")} == {"ridge head", "learning rates", "gradients", "fast weights"}


@needs_package
def test_a_sweep_over_weights_has_parallel_coordinates_and_importance_of_the_source_validation() -> None:
    made = sections("weights")
    coordinates, importance = made["Weights"]
    accessors = [column["accessor"] for column in coordinates["config"]["columns"]]
    assert accessors == ["config:method.value.weights.cohesion", "config:network.value.memory.momentum", "summary:val/miou"]
    assert importance["config"]["targetKey"] == "val/miou"
    assert [panel["config"]["xAxis"] for panel in made["Each weight"]] == accessors[:2]
    assert made["Sources"]
    assert made["Losses"]
    with pytest.raises(ConfigurationError, match="parameters is empty"):
        dashboard("weights", "me", "mine", TARGETS)


@needs_package
@pytest.mark.parametrize("kind", ["training", "weights"])
def test_the_package_reads_what_would_be_sent(kind: str) -> None:
    from wandb_workspaces.workspaces import Workspace
    from wandb_workspaces.workspaces.internal import View, WorkspaceViewspec

    text = json.loads(specification(dashboard(kind, "me", "mine", TARGETS, WEIGHTS)))
    spec = WorkspaceViewspec.model_validate_json(json.dumps(text["spec"]))
    again = Workspace._from_model(View(entity="me", project="mine", display_name=text["name"], name="nw-x-v", id="1", spec=spec))
    assert [section.name for section in again.sections] == list(sections(kind))
    assert again.settings.x_axis == "trainer/global_step"


@needs_package
def test_a_dashboard_is_saved_with_a_key_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from wandb_workspaces.workspaces import internal

    made, sent = dashboard("training", "me", "mine", TARGETS), []
    monkeypatch.setattr("pin_memory.loggers.wandb_key.has_key", lambda: False)
    with pytest.raises(ConfigurationError, match="no API key"):
        save(made)
    monkeypatch.setattr("pin_memory.loggers.wandb_key.has_key", lambda: True)
    monkeypatch.setattr(
        internal, "upsert_view2", lambda view: sent.append(view) or {"upsertView": {"view": {"name": "nw-abc-v", "id": "7"}}}
    )
    monkeypatch.setattr(type(made), "url", property(lambda workspace: f"https://x/{workspace._internal_name}"))  # asks for a name
    assert save(made) == "https://x/nw-abc-v"
    assert sent[0].display_name == "pin_memory: trainings"
    monkeypatch.setattr(internal, "upsert_view2", lambda view: 1 / 0)
    with pytest.raises(ConfigurationError, match="does not take the dashboard for me/mine"):
        save(made)


def test_a_missing_package_and_wrong_settings_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pin_memory.loggers.workspace.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install -e '\.\[dashboard\]'"):
        dashboard("training", "me", "mine", TARGETS)
    with pytest.raises(ConfigurationError, match="choose among training, weights"):
        dashboard("runs", "me", "mine", TARGETS)
    with pytest.raises(ConfigurationError, match="set entity"):
        dashboard("training", "", "mine", TARGETS)


def test_the_parameters_are_those_of_the_sweep_over_weights() -> None:
    parameters = OmegaConf.load(config_directory() / "dashboard.yaml").parameters
    assert list(parameters) == list(OmegaConf.load(config_directory() / "sweep" / "loss_weights.yaml").hydra.sweeper.params)
