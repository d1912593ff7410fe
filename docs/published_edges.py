"""Who is closest, where: writes docs/published_edges.md. Run it: python docs/published_edges.py

Every number is a published critical step size over the exact mean-square one: 1 is right, above 1 too bold, below too careful.
"""

from __future__ import annotations

from pathlib import Path

from esssim.claims import published, self_stabilisation
from esssim.claims.model import Row

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


def table(rows: list[Row], keys: tuple[str, ...], edges: tuple[str, ...]) -> str:
    """A Markdown table: the keys as they are, the edges to two digits, the closest in bold."""
    lines = ["| " + " | ".join((*keys, *edges)) + " |", "|" + "---|" * len(keys) + "---:|" * len(edges)]
    for row in rows:
        names = [str(row[key]) for key in keys]
        numbers = [f"**{row[edge]:.2f}**" if row.get("closest") == edge else f"{row[edge]:.2f}" for edge in edges]
        lines.append("| " + " | ".join(names + numbers) + " |")
    return "\n".join(lines) + "\n"


def markdown(quick: bool = False) -> str:
    """The whole page."""
    networks = self_stabilisation.closest_rows(quick)
    heavy_ball = ("small-batch end", "large-batch end", "formula of one dimension")
    parts = [HEAD, REGRESSION, table(published.closest_table(quick), ("ensemble", "b"), tuple(published.EDGES))]
    parts += [HEAVY_BALL, table(published.heavy_ball_table(quick), ("ensemble", "b", "momentum"), heavy_ball)]
    parts += [NETWORK, table(networks, ("seed", "b"), ("self-stabilisation", "gradient descent", "gap/ηα"))]
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(markdown(), encoding="utf-8")
