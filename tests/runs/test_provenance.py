import json
import subprocess
import sys
from pathlib import Path

import pytest

from pin_memory.runs.provenance import git_state, provenance


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    (tmp_path / "file.txt").write_text("one")
    person = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "."], [*person, "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    return tmp_path


def test_names_the_versions_and_is_plain_json() -> None:
    facts = json.loads(json.dumps(provenance()))
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["packages"]["torch"]
    assert facts["packages"]["lightning"]
    assert facts["date"].endswith("+00:00")


def test_git_state_tells_revision_and_changes(checkout: Path) -> None:
    clean = git_state(checkout)
    assert clean is not None
    assert len(clean["revision"]) == 40
    assert clean["dirty"] is False
    (checkout / "untracked.txt").write_text("a run's output")
    assert git_state(checkout) == clean
    (checkout / "file.txt").write_text("two")
    assert git_state(checkout) == {**clean, "dirty": True}


def test_without_a_checkout_of_its_own_there_is_no_git_state(checkout: Path) -> None:
    inside = checkout / "site-packages"
    inside.mkdir()
    assert git_state(inside) is None


def test_without_git_there_is_no_git_state(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None
