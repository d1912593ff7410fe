"""A published number as one quotes it: with its interval, its settings, and the code that measured it."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from esssim.claims.claim import Claim
from esssim.report import published
from esssim.report.latex import latex

WIDTH = 79
# Of a number whose code nobody wrote down.
UNKNOWN = "unknown"


def of(claim: Claim) -> dict[str, Any]:
    """Everything about a claim that a reader needs, for JSON; "result" is None where nothing was published."""
    quoted: dict[str, Any] = {**claim.as_dict(), "result": None}
    found = published.of(claim.id)
    if found is not None:
        entry, where = found
        quoted["result"] = {
            **{name: entry[name] for name in ("measured", "interval", "n_effective", "verdict", "reason")},
            "version": where["esssim"], "commit": where["commit"] or UNKNOWN, "date": where["date"][:10],
            "seed": where["seed"], "python": where["python"], "packages": where["packages"],
        }  # fmt: skip
    return {**quoted, "sentence": _sentence(quoted)}


def text(quoted: dict[str, Any]) -> str:
    """For a terminal, at most 79 columns wide but for ids."""
    lines = [quoted["id"], *_wrapped("", quoted["statement"])]
    result = quoted["result"]
    if result is None:
        return "\n".join([*lines, *_wrapped("result", "none was published; `esssim verify` measures it")])
    lines += _wrapped("result", f"{result['verdict']}: {_number(result) or result['reason']}")
    lines += _wrapped("settings", f"{quoted['method']}; seed {result['seed']}")
    packages = ", ".join(f"{name} {version}" for name, version in result["packages"].items())
    lines += _wrapped(
        "code",
        f"esssim {result['version']}, commit {result['commit']}, {result['date']}; Python {result['python']}, "
        f"{packages}",
    )
    return "\n".join([*lines, *_wrapped("sentence (LaTeX)", quoted["sentence"])])


def _wrapped(label: str, words: str) -> list[str]:
    start = f"  {label}: " if label else "  "
    return textwrap.wrap(
        words, WIDTH, initial_indent=start, subsequent_indent="    " if label else "  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _number(result: dict[str, Any]) -> str:
    """ "1.24 (95 % interval 1.22 to 1.26, 310 effective samples)"; empty where the claim is not about one number."""
    value, interval, effective = result["measured"], result["interval"], result["n_effective"]
    if value is None:
        return ""
    if interval is None or None in interval:
        return f"{value:.4g}"
    if interval[0] == interval[1] and effective is None:
        return f"{value:.4g} (no sampling error)"
    samples = "" if effective is None else f", {effective:.0f} effective samples"
    return f"{value:.4g} (95 % interval {interval[0]:.4g} to {interval[1]:.4g}{samples})"


def _sentence(quoted: dict[str, Any]) -> str:
    """What a paper can say, in LaTeX."""
    statement, result = latex(f"“{quoted['statement'].rstrip('.')}”"), quoted["result"]
    cited = "".join(f"~\\cite{{{key}}}" for key in quoted["papers"])
    said = f"The statement {statement}{cited}"
    claim = f"claim {latex(quoted['id'])}"
    if result is None:
        return f"{said} is tested by esssim~\\cite{{esssim}} as {claim}."
    outcome = {"holds": "holds", "refuted": "is refuted", "inconclusive": "stays undecided"}[result["verdict"]]
    number = _number(result)
    measured = latex(f"the measured value is {number}" if number else result["reason"])
    # The published numbers are those of full runs.
    settings = latex(re.sub(r" \(quick: [^)]*\)", "", quoted["method"]).rstrip("."))
    return (
        f"{said} {outcome}: {measured}; {claim} of esssim~\\cite{{esssim}}, version {result['version']}, commit "
        f"{result['commit']}, seed {result['seed']}. Settings: {settings}."
    )
