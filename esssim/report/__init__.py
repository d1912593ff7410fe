"""What came out, for people and programs: words, tables on a terminal, files, one HTML page, the pages of the
results.
"""

from esssim.report.html import render_report
from esssim.report.readme import BEGIN, END, check_readme, result_pages, summary, update_readme
from esssim.report.results import claim_csv, csv_names, read_entries, results_json, write_report, write_results

__all__ = [
    "BEGIN",
    "END",
    "check_readme",
    "claim_csv",
    "csv_names",
    "read_entries",
    "render_report",
    "result_pages",
    "results_json",
    "summary",
    "update_readme",
    "write_report",
    "write_results",
]
