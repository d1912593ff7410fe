"""Every published claim: a row of the table on the page of results, and a page with an address of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from _sphinx.comparison import Row, comparison
from _sphinx.files import DOCS
from esssim.report import indices

VERDICTS = {
    "confirmed": ("✓", "holds, as predicted"),
    "refuted": ("✗", "refuted, as predicted"),
    "open-holds": ("✓", "holds, no prediction"),
    "open-refuted": ("✗", "refuted, no prediction"),
    "contradiction-holds": ("✓!", "holds, against our prediction"),
    "contradiction-refuted": ("✗!", "refuted, against our prediction"),
    "undecided": ("?", "no verdict"),
}
MANY_ROWS = 40
Entry = dict[str, Any]


@cache
def published() -> dict[str, tuple[Entry, Entry]]:
    """The newest published run of every claim of the registry, in its order: (entry, where it was measured)."""
    from esssim import claims
    from esssim.report.published import results

    found = {entry["id"]: (entry, where) for entry, where in results()}
    return {name: found[name] for name in claims.registry if name in found}


def statistic(entry: Entry) -> str:
    """What the claim is about, as tables call it; "" where it is about no single statistic."""
    from esssim.statistics.table import STATISTICS

    if entry["setting"].get("statistic") in STATISTICS:
        return STATISTICS[entry["setting"]["statistic"]].short
    row = (entry["cell"] or {}).get("row")
    return next((each.short for each in STATISTICS.values() if each.heading == row), "")


def setting(entry: Entry) -> str:
    """The data and model of the claim in one word; its family where it has none."""
    if entry["cell"]:
        return str(re.split(r"[:,]", entry["cell"]["table"])[0])
    parts = entry["id"].split("/")
    return parts[1] if len(parts) == 3 else ""


def model(entry: Entry) -> str:
    """What the runs of the claim train, in words; "" where no run is behind it."""
    from esssim import claims

    return ", ".join(dict.fromkeys(map(_model, claims.registry[entry["id"]].experiments(False))))


# What runs without a problem of ours train.
MODELS = {"network": "torch network", "network_flow": "torch network", "self_stabilisation": "two variables"}


def _model(run: Any) -> str:
    if run.kind in MODELS:
        return MODELS[run.kind]
    name = getattr(run.problem, "kind", type(run.problem).__name__)
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name).lower()


def tone(entry: Entry) -> str:
    """What came out, and what that means for our prediction: a key of VERDICTS."""
    from esssim.report.words import tone as of

    found = of(entry["expected"], entry["verdict"])
    kind = {"unpredicted": "open", "contradiction": "contradiction"}.get(found)
    return f"{kind}-{entry['verdict']}" if kind else found


def number(entry: Entry) -> str:
    value, interval = entry["measured"], entry["interval"]
    if value is None:
        return ""
    if interval is None or None in interval or interval[0] == interval[1]:
        return f"{value:.4g}"
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def address(name: str) -> str:
    return f"results/{name}"


def anchor(name: str) -> str:
    """Where the row of a claim is in the table."""
    return "claim-" + re.sub(r"[^\w.-]+", "-", name)


class ClaimTable(SphinxDirective):
    """All claims in one table, with controls that `esssim.js` brings to life."""

    def run(self) -> list[nodes.Node]:
        for path in (*DOCS.glob("*.json"), *Path(__file__).parent.glob("*.py")):
            self.env.note_dependency(str(path))
        entries = [entry for entry, _ in published().values()]
        columns: dict[str, Callable[[Entry], str]] = {"statistic": statistic, "setting": setting, "verdict": tone}
        choices = []
        for name, of in columns.items():
            values = dict.fromkeys(of(entry) for entry in entries)
            options = "".join(
                f'<option value="{escape(value)}">{escape(_spoken(name, value))}</option>'
                for value in sorted(
                    values,
                    key=lambda value: (not value, list(VERDICTS).index(value) if value in VERDICTS else 0, value),
                )
            )
            choices.append(
                f'<label>{name} <select name="{name}"><option value="*">all</option>{options}</select></label>'
            )
        rows = "".join(map(self._row, entries))
        html = (
            '<form class="claim-filter" role="search"><label>search <input name="words" type="search" '
            f'placeholder="words of a claim, its id or its model"></label>{"".join(choices)}'
            f'<output aria-live="polite">{len(entries)} claims</output></form>'
            '<div class="claim-table"><table><thead><tr><th>claim</th><th>statistic</th><th>setting</th>'
            f"<th>measured</th><th>verdict</th></tr></thead><tbody>{rows}</tbody></table></div>"
        )
        # The search of the site finds a claim by its id.
        ids = [("single", entry["id"], anchor(entry["id"]), "main", None) for entry in entries]
        return [addnodes.index(entries=ids), nodes.raw("", html, format="html")]

    def _row(self, entry: Entry) -> str:
        mark, words = VERDICTS[tone(entry)]
        picture = _strip(entry) if entry["cell"] else ""
        return (
            f'<tr id="{anchor(entry["id"])}" data-statistic="{escape(statistic(entry))}" data-setting="{escape(setting(entry))}" '
            f'data-verdict="{tone(entry)}"><td><a href="{escape(entry["id"])}.html">{escape(entry["id"])}</a>'
            f"<br><small>{indices.html(entry['sentence'])}</small></td><td>{escape(statistic(entry))}</td>"
            f"<td>{escape(setting(entry))}<br><small>{model(entry)}</small></td><td>{escape(number(entry))}{picture}</td>"
            f'<td class="{tone(entry)}">{mark} {words}</td></tr>'
        )


def _strip(entry: Entry) -> str:
    """The level beside the edge, as in the report of `esssim verify`."""
    from esssim.report.scale import strip

    if entry["measured"] is None:
        return ""
    known = None not in (entry["interval"] or [None])
    tolerance = entry["tolerance"] or 0.0
    return strip(entry["measured"], entry["interval"] if known else None, (1 - tolerance, 1 + tolerance))


def _spoken(column: str, value: str) -> str:
    if column == "verdict":
        return " ".join(VERDICTS[value])
    return value or "—"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """One page for each claim; the search of the site leads to its row in the table on Results."""
    if app.builder.format != "html":
        return
    for name, (entry, where) in published().items():
        root = "../" * (name.count("/") + 1)
        context = {
            "title": name,
            "body": _body(entry, where, root),
            "parents": [{"link": f"{root}results/index.html", "title": "Results"}],
        }
        yield address(name), context, "page.html"


def _body(entry: Entry, where: Entry, root: str) -> str:
    from esssim import claims, papers

    claim = claims.registry[entry["id"]]
    mark, words = VERDICTS[tone(entry)]
    cited = "".join(
        f' <a href="{root}reference/bibliography.html#{paper.key}">[{escape(paper.key)}]</a>'
        for paper in claim.source.papers
    )
    facts = {
        "verdict": f'<span class="{tone(entry)}">{mark} {words}</span>',
        "measured": escape(number(entry)) + (" (no sampling error)" if _exact(entry) else ", 95 % interval" if entry["interval"] else ""),
        "tolerance": "" if entry["tolerance"] is None else f"{entry['tolerance']:g}",
        "effective samples": "" if entry["n_effective"] is None else f"{entry['n_effective']:.0f}",
        "why": indices.html(entry["reason"]),
        "source": escape(entry["source"]) + cited,
        "the source predicts": indices.html(entry["source_predicts"]),
        "we predict": indices.html(entry["we_predict"]) + (f" (stated on {entry['predicted_on']})" if entry["predicted_on"] else ""),
        "method": indices.html(entry["method"]),
        "run": escape(
            f"esssim {where['esssim']}, {where['date'][:10]}, commit {where['commit'] or 'unknown'}, seed {where['seed']}, "
            f"Python {where['python']}, numpy {where['packages']['numpy']}; {_seconds(entry):.1f} s"
        ),
    }  # fmt: skip
    values = "".join(
        f"<tr><th>{escape(key.replace('_', ' '))}</th><td>{escape(_plain(value))}</td></tr>"
        for key, value in entry["values"].items()
    )
    parts = [
        f"<h1><code>{escape(entry['id'])}</code></h1><p class='claim-statement'>{indices.html(entry['statement'])}</p>",
        _picture(entry, root),
        '<table class="claim-facts">',
        *(f"<tr><th>{key}</th><td>{value}</td></tr>" for key, value in facts.items() if value),
        "</table>",
        f"<h2>Numbers</h2><table class='claim-facts'>{values}</table>" if values else "",
        "<h2>Reproduce it</h2>",
        _command(f"esssim verify {entry['id']}"),
        _experiments(claim),
        "<h2>Cite it</h2>",
        _command(f"esssim cite {entry['id']}"),
        _bibtex("\n\n".join(papers.bibtex((claim.source,)))),
    ]
    return f"<section class='claim'>{''.join(parts)}</section>"


def _seconds(entry: Entry) -> float:
    """How long the run took: claims about one setting and batch size share it, and the first of them waited for it."""
    if not entry["cell"]:
        return float(entry["seconds"])
    place = [entry["cell"][key] for key in ("table", "batch_size")]
    cells = [each for each, _ in published().values() if each["cell"]]
    return float(
        max(each["seconds"] for each in cells if [each["cell"][key] for key in ("table", "batch_size")] == place)
    )


def _exact(entry: Entry) -> bool:
    return (
        entry["interval"] is not None and entry["interval"][0] == entry["interval"][1] and entry["n_effective"] is None
    )


def _plain(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _command(line: str) -> str:
    return f'<div class="highlight-sh notranslate"><div class="highlight"><pre>{escape(line)}</pre></div></div>'


def _bibtex(text: str) -> str:
    return f"<details><summary>BibTeX</summary>{_command(text)}</details>"


def _experiments(claim: Any) -> str:
    runs = claim.experiments(False)
    if not runs:
        return (
            "<p>No experiment of a text file is behind this claim: the command computes it from the method above.</p>"
        )
    if len(runs) == 1:
        return f"<p>The run alone, with <code>esssim run claim.toml</code>:</p>{_toml(runs[0])}"
    listed = "".join(
        f"<details><summary>run {place} of {len(runs)}</summary>{_toml(run)}</details>"
        for place, run in enumerate(runs, 1)
    )
    return f"<p>{len(runs)} runs decide it, each of which <code>esssim run</code> takes as a file:</p>{listed}"


@cache
def _highlighted(text: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TOMLLexer

    return str(highlight(text, TOMLLexer(), HtmlFormatter(nowrap=True)))


def _toml(run: Any) -> str:
    return f'<div class="highlight-toml notranslate"><div class="highlight"><pre>{_highlighted(run.to_toml())}</pre></div></div>'


def _picture(entry: Entry, root: str) -> str:
    """The claim among those it is compared with: the same statistic and setting at every b, or its family."""
    if entry["measured"] is None:
        return ""
    if entry["cell"]:
        same = [
            each
            for each, _ in published().values()
            if each["family"] == entry["family"] and each["cell"] and each["cell"]["table"] == entry["cell"]["table"]
        ]
        rows = [
            (f"b = {each['cell']['batch_size']}", each)
            for each in sorted(same, key=lambda each: each["cell"]["batch_size"])
        ]
        caption, target = (
            "(η/2)·statistic against the batch size: 1 is the edge, the band what counts as at the edge",
            1.0,
        )
    else:
        family = [
            each
            for each, _ in published().values()
            if each["family"] == entry["family"] and each["measured"] is not None
        ]
        comparable = [
            each for each in family if each["method"] == entry["method"] and each["tolerance"] == entry["tolerance"]
        ]
        rows = [(each["id"].partition("/")[2], each) for each in comparable]
        if len(rows) > MANY_ROWS:
            near = next(place for place, (_, each) in enumerate(rows) if each is entry)
            first = max(0, min(near - MANY_ROWS // 2, len(rows) - MANY_ROWS))
            rows = rows[first : first + MANY_ROWS]
        caption, target = "the measured number among those of its family", None
    drawn = [
        Row(label, each["measured"], each["interval"], f"{root}results/{each['id']}.html", each["id"] == entry["id"])
        for label, each in rows
        if each["measured"] is not None
    ]
    return f"<figure class='claim-picture'>{comparison(drawn, target, entry['tolerance'])}<figcaption>{caption}</figcaption></figure>"


def setup(app: Sphinx) -> None:
    app.add_directive("claim-table", ClaimTable)
    app.connect("html-collect-pages", pages)
    # Sphinx forgets the index entries of pages that it does not read again, and then the search has no claims and no terms.
    app.connect("env-get-outdated", lambda *_: ["results/index", "glossary"])
