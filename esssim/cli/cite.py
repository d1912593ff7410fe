"""`esssim cite`: the number of a claim, where it comes from, and a sentence for a paper."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from esssim.cli import complete
from esssim.cli.common import AsJson, print_json

HELP = """A claim's published number, its settings, and a sentence for a paper with BibTeX.

CLAIM is an id, the beginning of one, or a statistic, as in `esssim verify`. Without it: the BibTeX of esssim.

Examples:

    esssim cite

    esssim cite mean-square-edge

    esssim cite minibs-settles/diabetes/b=4 --json"""


def cite(
    name: Annotated[
        str | None, typer.Argument(metavar="[CLAIM]", show_default=False, autocompletion=complete.claims)
    ] = None,
    as_json: AsJson = False,
) -> None:
    from esssim.papers import bibtex

    if name is None:
        if as_json:
            print_json({"claims": [], "bibtex": bibtex(())})
        else:
            print(*bibtex(()))
        return
    from esssim.claims import index
    from esssim.claims.names import matching

    matching(name, index.ids())
    from esssim import claims
    from esssim.report import quotation

    selected = claims.registry.select([name])
    sources = list(dict.fromkeys(claim.source for claim in selected))
    entries = bibtex(tuple(sources))
    quoted: list[dict[str, Any]] = [quotation.of(claim) for claim in selected]
    if as_json:
        print_json({"claims": quoted, "bibtex": entries})
        return
    for each in quoted:
        print(quotation.text(each), end="\n\n")
    print(f"source: {'; '.join(map(str, sources))}", *entries, sep="\n\n")
