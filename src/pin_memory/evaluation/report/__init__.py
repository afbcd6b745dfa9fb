"""Reports: one self-contained HTML file of a run or of a comparison, which opens without network or account."""

from pin_memory.evaluation.report.comparison import write_comparison_report
from pin_memory.evaluation.report.run import REPORT, try_report, write_report

__all__ = ["REPORT", "try_report", "write_comparison_report", "write_report"]
