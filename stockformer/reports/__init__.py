"""Reports: explanations written to files."""

from stockformer.reports.explanation import generate_report, report_windows
from stockformer.reports.faithfulness import write_faithfulness
from stockformer.reports.planted import write_planted

__all__ = ["generate_report", "report_windows", "write_faithfulness", "write_planted"]
