"""Which W&B run a resumed training continues."""

from pathlib import Path

import pytest

from pin_memory.loggers import RUN_ID, earlier_run_id, wandb_parts


class TestEarlierRunId:
    @pytest.fixture
    def earlier(self, tmp_path: Path) -> Path:
        """A run folder with an id."""
        (tmp_path / "earlier" / "checkpoints").mkdir(parents=True)
        (tmp_path / "earlier" / "checkpoints" / RUN_ID).write_text("abc123\n")
        return tmp_path / "earlier"

    def test_of_a_folder_and_of_a_file(self, earlier: Path, tmp_path: Path) -> None:
        for resume in (earlier, str(earlier), earlier / "checkpoints" / "best.ckpt"):
            assert earlier_run_id(resume, tmp_path / "new") == "abc123"
        assert earlier_run_id(tmp_path, tmp_path / "new") is None

    @pytest.mark.parametrize("content", [b"", b"../x", b"a b", b"\xff\xfe", b"x" * 65])
    def test_what_is_no_id_is_not_taken(self, earlier: Path, tmp_path: Path, content: bytes) -> None:
        (earlier / "checkpoints" / RUN_ID).write_bytes(content)
        assert earlier_run_id(earlier, tmp_path / "new") is None

    def test_a_job_of_a_sweep_resumes_only_in_its_own_run(self, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(wandb_parts, "is_sweep", lambda: True)
        assert earlier_run_id(earlier, tmp_path / "new") is None
        assert earlier_run_id(earlier, earlier) == "abc123"
