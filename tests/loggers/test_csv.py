"""Metrics as rows of one CSV file."""

import csv
from pathlib import Path

import torch

from pin_memory.loggers import CSVLogger


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestCSVLogger:
    def test_writes_exactly_the_file_it_is_given(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "run" / "metrics.csv")
        logger.log_metrics({"loss": torch.tensor(0.5), "epoch": 0}, step=10)
        logger.finalize("success")
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.csv"]
        assert rows(logger.path) == [{"step": "10", "epoch": "0", "loss": "0.5"}]

    def test_new_metrics_widen_the_file(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "metrics.csv", flush_every=1)
        for step, metrics in enumerate([{"loss": 1.0}, {"loss": 0.5}, {"miou": 0.25}]):
            logger.log_metrics(metrics, step)
        logger.finalize("success")
        assert [(row["step"], row["loss"], row["miou"]) for row in rows(logger.path)] == [
            ("0", "1.0", ""),
            ("1", "0.5", ""),
            ("2", "", "0.25"),
        ]

    def test_metrics_of_one_step_share_a_row_unless_logged_twice(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "metrics.csv")
        logger.log_metrics({"a": 1.0}, 3)
        logger.log_metrics({"b": 2.0}, 3)
        logger.log_metrics({"b": 4.0}, 3)
        logger.save()
        assert [(row["a"], row["b"]) for row in rows(logger.path)] == [("1.0", "2.0"), ("", "4.0")]

    def test_a_resumed_run_keeps_its_history(self, tmp_path: Path) -> None:
        for step in (1, 2):
            logger = CSVLogger(tmp_path / "metrics.csv")
            logger.log_metrics({"loss": 1.0} if step == 1 else {"loss": 0.5, "lr": 0.1}, step)
            logger.finalize("success")
        assert [(row["step"], row["loss"], row["lr"]) for row in rows(tmp_path / "metrics.csv")] == [("1", "1.0", ""), ("2", "0.5", "0.1")]

    def test_damage_beyond_the_header_does_not_stop_a_resumed_run(self, tmp_path: Path) -> None:
        """Bytes that are no text, which a crash may have left."""
        path = tmp_path / "metrics.csv"
        path.write_bytes(b"step,epoch,loss\n" + b"7,0,1.0\n" * 3000 + b"\xff\xfe\n")
        logger = CSVLogger(path)
        logger.log_metrics({"loss": 0.5, "lr": 0.1}, 8)
        logger.save()
        assert (rows(path)[0]["loss"], rows(path)[-1]["lr"]) == ("1.0", "0.1")

    def test_rows_are_written_as_they_come_not_only_at_the_end(self, tmp_path: Path) -> None:
        logger = CSVLogger(tmp_path / "metrics.csv", flush_every=2)
        for step in range(5):
            logger.log_metrics({"loss": 1.0}, step)
        assert len(rows(logger.path)) == 4
