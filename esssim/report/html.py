"""The report of `esssim verify`: the answer, the headline picture, the table that filters, every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from esssim.claims.claim import Verdict
from esssim.report import indices
from esssim.report.answer import answer, contradicted
from esssim.report.cards import Cards
from esssim.report.headline import headline
from esssim.report.listing import listing
from esssim.report.page import address, asset, document, figure, made_with
from esssim.report.words import grouped, skipped, summary

LEGEND = (
    "A level is (η/2)·statistic: 1, the dashed line, is the edge 2/η. The green band on a scale is what counts as "
    "equal, or "
    "the values with which the claim holds. Intervals are 95 %. A claim of the literature may be refuted and still "
    "come "
    "out as we predict."
)


def render_report(
    verdicts: Sequence[Verdict],
    environment: Mapping[str, object],
    pictures: Mapping[str, str] | None = None,
    quick: bool = False,
) -> str:
    """report.html: the answer in two sentences, pictures, the table of claims, and every claim with its numbers.

    pictures: title -> one inline <svg> element (`plots.report_pictures`), shown on white paper. quick: whether short
    runs were measured, so that commands and TOML are those of the short ones.
    """
    shown = [verdict for verdict in verdicts if verdict.measurement.verdict != "skipped"]
    families = grouped(shown, lambda verdict: verdict.claim.family)
    cards = Cards(quick)
    found = f'<p class="answer">{indices.html(" ".join(answer(shown)))}</p>{figure(*headline(shown))}' if shown else ""
    body = "".join(
        [
            f"<header><h1>esssim: what settles at 2/η?</h1>{found}{_contradicted(shown)}"
            f'<p class="soft">{escape(summary(list(verdicts)))}.</p>',
            *(f"<p>{escape(line)}</p>" for line in skipped(verdicts)),
            f'<p class="soft">{LEGEND}</p></header><main>',
            *(figure(svg, title, paper=True) for title, svg in (pictures or {}).items()),
            listing(shown) if shown else "",
            *(_family(name, members, cards) for name, members in families.items()),
            f"</main>{made_with(environment)}",
        ]
    )
    return document("esssim report", body, script=asset("report.js") if shown else "")


def _contradicted(verdicts: Sequence[Verdict]) -> str:
    """Links to what did not come out as we said: nobody shall have to look for it."""
    links = [f'<a href="{escape(address(name), quote=True)}">{escape(name)}</a>' for name in contradicted(verdicts)]
    return f"<p>Contradicting our prediction: {', '.join(links)}.</p>" if links else ""


def _family(name: str, members: Sequence[Verdict], cards: Cards) -> str:
    return f'<section class="family"><h2>{escape(name)}</h2>{"".join(map(cards.card, members))}</section>'
