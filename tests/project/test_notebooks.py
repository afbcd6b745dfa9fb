"""The notebooks run, with fewer steps than those that are kept, and are kept with their outputs."""

from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
LARGEST = 500_000  # bytes


def test_there_are_notebooks() -> None:
    assert [path.name.partition("_")[0] for path in NOTEBOOKS] == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_as_it_ran(path: Path) -> None:
    """All cells in order from the first to the last, no error among the outputs, with pictures, small enough for a repository."""
    assert path.stat().st_size < LARGEST
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From top to bottom, in a folder of its own."""
    from nbclient import NotebookClient

    monkeypatch.setenv("PIN_MEMORY_NOTEBOOK_STEPS", "2")
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where it puts its runs
    monkeypatch.setenv("WANDB_MODE", "disabled")
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    kept = nbformat.read(path, 4)
    assert [bool(cell.get("outputs")) for cell in notebook.cells] == [bool(cell.get("outputs")) for cell in kept.cells]
