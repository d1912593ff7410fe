"""Who is closest, where: python docs/published_edges.py measures anew and writes docs/published_edges.json and .md.

`--check` only compares the page with the numbers in the JSON file. Each is a published critical step size over the exact
mean-square one: 1 is right, above 1 too bold, below too careful.
"""

from __future__ import annotations

import sys

from esssim.claims import published, self_stabilisation
from esssim.claims.claim import Row
from esssim.report.pages import keep_measured_page

HEAD = """# Published edges against the exact mean-square edge

Made by `python docs/published_edges.py`; the claims `who-is-closest/…` decide on the same numbers. Each is a published critical
step size over the exact mean-square one: 1 is right, above 1 too bold, below 1 too careful. **Bold** is the closest.
"""
REGRESSION = """## Plain SGD on linear regression

Batch sharpness and the interaction-aware edge depend on the gradient: averaged over 8 points drawn from N(θ*, I). At b = n
several edges are exact.
"""
HEAVY_BALL = """## Heavy ball on linear regression

Both ends with the mean-square sharpness Q_b, and 1/η = a/(2(1+β)) + s²/(2a(1−β)) with a = λ_max and s²/a = Q_b − λ_max.
"""
NETWORK = """## Self-stabilisation on a network in training

On a quadratic the sharpness does not rise, and the formula is 0/0. So: diagonal networks (n = 40, d = 20) at 0.3 of their first
loss; the step size at which the present sharpness is its equilibrium, over 2/Q_b of the Gauss–Newton Hessians. gap/ηα is the
closed form over ηα, which has to be ≫ 1 for it to hold in its own dynamics (`theory/self_stabilisation_gap.py`).
"""
SOURCES = """## What was checked against the papers

Read: the abstracts of all, and for Agarwala & Pennington a summary. From these come the gap ηβσ_u²/(4α), with α the rate of
progressive sharpening, β the strength of self-stabilisation and σ_u² the gradient noise along the top eigenvector (Liao,
Kolomvaki & Kyrillidis, arXiv 2604.21016); that ∇L·∇S < 0 along most of training (Damian, Nichani & Lee, arXiv 2209.15594); the
edges ηλ_max < 2 and 𝒦 = 1 of the noise kernel, and its tie to the trace (Agarwala & Pennington, arXiv 2404.19261); the plateaus
2(1−β)/η and 2(1+β)/η of batch sharpness (Andreyev et al., arXiv 2604.14108); that interaction-aware sharpness weighs the landscape by
the distribution of batch gradients (Lee & Jang, ICLR 2023).

Not within reach, and our own reading: α = −∇L·∇S and β as the squared norm of ∇S across the top eigenvector; the predicted dynamics
as those of Damian, Nichani & Lee with gradient noise added, and the conditions of the theorem that couples SGD to them; the formulas
of the three approximations of the noise kernel; the definition tr(H G_b)/tr(G_b).
"""


def table(rows: list[Row], keys: tuple[str, ...], edges: tuple[str, ...]) -> str:
    """A Markdown table: the keys as they are, the edges to two digits, the closest in bold."""
    lines = ["| " + " | ".join((*keys, *edges)) + " |", "|" + "---|" * len(keys) + "---:|" * len(edges)]
    for row in rows:
        names = [str(row[key]) for key in keys]
        numbers = [f"**{row[edge]:.2f}**" if row.get("closest") == edge else f"{row[edge]:.2f}" for edge in edges]
        lines.append("| " + " | ".join(names + numbers) + " |")
    return "\n".join(lines) + "\n"


def measure(quick: bool = False) -> dict[str, list[Row]]:
    """The numbers of every table."""
    return {
        "regression": published.closest_table(quick),
        "heavy ball": published.heavy_ball_table(quick),
        "network": self_stabilisation.closest_rows(quick),
    }


def markdown(content: dict[str, list[Row]]) -> str:
    """The whole page."""
    heavy_ball = ("small-batch end", "large-batch end", "formula of one dimension")
    parts = [HEAD, REGRESSION, table(content["regression"], ("ensemble", "b"), tuple(published.EDGES))]
    parts += [HEAVY_BALL, table(content["heavy ball"], ("ensemble", "b", "momentum"), heavy_ball)]
    parts += [NETWORK, table(content["network"], ("seed", "b"), ("self-stabilisation", "gradient descent", "gap/ηα"))]
    return "\n".join([*parts, SOURCES])


def main() -> int:
    return keep_measured_page(__file__, markdown, measure)


if __name__ == "__main__":
    sys.exit(main())
