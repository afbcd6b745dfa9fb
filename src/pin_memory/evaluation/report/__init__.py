"""Reports: one self-contained HTML file of a run or of a comparison, which opens without network or account."""

from pin_memory.evaluation.report.comparison import write_comparison_report
from pin_memory.evaluation.report.page import MAX_BYTES
from pin_memory.evaluation.report.run import REPORT, try_report, write_report

__all__ = ["MAX_BYTES", "REPORT", "try_report", "write_comparison_report", "write_report"]
