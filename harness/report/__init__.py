"""Tables, figures and frames made from the records; nothing here imports torch."""

from harness.report.frame import load_results

__all__ = ["load_results"]
