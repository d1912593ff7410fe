"""What came out, for people and programs: words, tables on a terminal, files, one HTML page, the README's table."""

from esssim.report.html import render_report
from esssim.report.readme import BEGIN, END, NETWORKS, check_readme, markdown_table, update_readme
from esssim.report.results import claim_csv, csv_names, read_entries, results_json, write_report, write_results

__all__ = [
    "BEGIN",
    "END",
    "NETWORKS",
    "check_readme",
    "claim_csv",
    "csv_names",
    "markdown_table",
    "read_entries",
    "render_report",
    "results_json",
    "update_readme",
    "write_report",
    "write_results",
]
