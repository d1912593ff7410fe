"""Published numbers inside of sentences, each with a link to its claim: a new run changes the text by itself.

{claim}`minibs-settles/diabetes/b=4`      1.02, with a link
{levels}`mean-square-settles b<n`         0.97 to 1.01: the lowest and the highest level of a family
{settling}`mean-square-settles b<n`       18 of 18: how many of them settle at the edge
"""

from __future__ import annotations

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxRole

from _sphinx.claims import published


class Number(SphinxRole):
    """The measured value of a claim."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        found = published().get(self.text)
        if found is None or found[0]["measured"] is None:
            return [], [
                self.inliner.reporter.error(f"no published number of the claim {self.text!r}", line=self.lineno)
            ]
        root = "../" * self.env.docname.count("/")
        shown = f"{found[0]['measured']:.2f}"
        return [
            nodes.reference("", shown, internal=True, refuri=f"{root}results/{self.text}.html", classes=["number"])
        ], []


class Family(SphinxRole):
    """Of the levels of a family, "FAMILY b<n" or "FAMILY b=n": what `shown` says."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        family, _, which = self.text.partition(" ")
        entries = [entry for entry, _ in published().values() if entry["family"] == family and entry["cell"]]
        if which:
            entries = [entry for entry in entries if entry["cell"]["full_batch"] is (which == "b=n")]
        if not entries or which not in ("", "b<n", "b=n"):
            return [], [self.inliner.reporter.error(f"no levels of {self.text!r}", line=self.lineno)]
        return [nodes.Text(self.shown(entries))], []

    def shown(self, entries: list[dict[str, Any]]) -> str:
        raise NotImplementedError


class Levels(Family):
    def shown(self, entries: list[dict[str, Any]]) -> str:
        levels = [entry["measured"] for entry in entries]
        return f"{min(levels):.2f} to {max(levels):.2f}"


class Settling(Family):
    def shown(self, entries: list[dict[str, Any]]) -> str:
        return f"{sum(entry['verdict'] == 'holds' for entry in entries)} of {len(entries)}"


def setup(app: Sphinx) -> None:
    for name, role in {"claim": Number, "levels": Levels, "settling": Settling}.items():
        app.add_role(name, role())
