"""Who is closest, where: python docs/published_edges.py measures anew and writes docs/published_edges.json and .md.

`--check` only compares the page with the numbers in the JSON file. Each is a published critical step size over the exact
mean-square one: 1 is right, above 1 too bold, below too careful.
"""

from __future__ import annotations

import sys
from typing import Any

from esssim.claims import edge_tables, published, self_stabilisation
from esssim.claims.claim import Row
from esssim.experiments import published_edges
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
BOUNDS = """## Bounds and closures on linear regression

* *Contraction*: 2/λ_max(H⁺E[H_B²]), where one step stops shrinking every vector on average: sufficient for stability (code of
  Andreyev & Beneventano).
* *Size-free*: 1/√(cμ), μ = min_e tr(HΣ)/2L, from the alignment of noise and Hessian (Wu, Wang & Su, arXiv 2207.02628). SGD is
  unstable above. ∞ where some direction has no noise.
* *Coherence*: the smaller of 2/λ_max and σ/(λ_max√(n/b − 1)) (Dexter et al., arXiv 2401.12332). SGD diverges above if each sample
  is in the batch by itself with probability b/n. For batches of a fixed size this is no theorem: for n = 2, b = 1 and Hessians 1 and
  √2 − 1 the condition holds at η = 2, and SGD is stable up to 2.41.
* *Closures*: the noise taken as c(τ₁tr(HM)H − τ₂HMH), for (τ₁, τ₂) = (1, 1) and (1, −1) (Velikanov, Kuznedelev & Yarotsky, arXiv
  2206.11124). The first is exact for translation-invariant data, the second for Gaussian inputs drawn anew in every step. The
  kernel of Paquette et al. (arXiv 2102.04396) is the trace in the table above.
* *Critical sharpness* λ_c = 2/η_c, η_c the smallest step that raises the loss (Kalra et al., arXiv 2601.16979): along the full
  gradient, and (*of batches*) along each batch's own. As above they are averaged over 8 points.
"""
ZEROTH = """## Zeroth-order descent

θ ← θ − η(u·g)u with normal u: the edge is Σ ηλᵢ/(2(1 − ηλᵢ)) = 1 (Song et al., arXiv 2604.14669). It agrees with the spectral
radius of the exact second moment to rounding, with momentum β too. Every number is over this edge; heavy ball has β = 0.9. With a
frozen preconditioner P the formula takes the eigenvalues of P⁻¹H; that is exact where P and H commute, and not otherwise.
Zeroth-order descent is far less stable than gradient descent. On batches of b it is less stable still (last columns): the noise of
the direction doubles that of the batch and spreads its trace over all parameters (`theory/zeroth_order.py`; `es.ZerothOrder` runs it).
"""
SHARPNESS_AWARE = """## Sharpness-aware steps

θ ← θ − ηg_B(θ + ρg_B), without the norm of the gradient, against its exact edge on batches (`theory/sharpness_aware.py`;
`es.SharpnessAware` runs it). *Full batch*: λ + ρλ² = 2/η, which is Long & Bartlett's edge (arXiv 2309.12488) for ‖g‖ = 1. *SGD*:
2/Q_b, for ρ = 0. *Q_b + ρQ_b²*: the same with Q_b in the place of λ_max. ρ squares the Hessians of the batches, and their noise
counts for more: for b = 1 and ρ = 1/λ_max the edge of the full loss is up to 300 times too bold, that of SGD up to 30 times.
"""
PRECONDITIONED = """## Adam with its preconditioner frozen

θ ← θ − ηP⁻¹m, m ← βm + (1−β)g_B, β = 0.9, P = √(mean gᵢ²) at one point drawn from N(θ*, I). The exact edge is that of the Hessians
P^{−½}HᵢP^{−½}, Q_P their mean-square sharpness. *Full batch*: 38/λ_max(P⁻¹H). *Small batch*: 2/Q_P. *One dimension*: heavy ball's
formula with a = λ_max(P⁻¹H), s²/a = Q_P − a. For small batches the full-batch edge, at which Adam trains with full batches, is up to
hundreds of times too bold.
"""
DECAY = """## Weight decay

Q_b of the penalised loss L + ½μ‖θ‖², over Q_b. The curvature μ adds to H and not to the noise: Q_b rises by μ for b = n, and where the
noise makes most of Q_b it *falls*. In one dimension it is a + μ + s²/(a + μ). So weight decay moves the mean-square edge up for small
batches. It is exact for fixed Hessians; in training weight decay also moves the solution, which is not measured here.
"""
DROPOUT = """## Dropout of inputs

Each input of each drawn sample is *kept* with this probability and divided by it, or else 0 (`theory/dropout.py`; `es.Dropout` runs it).
What people would use, over the exact edge: λ_max and Q_b of the loss, and of the loss with the penalty (v/2n)Σᵢ‖xᵢ∘θ‖²,
v = (1 − kept)/kept, which is dropout on average (Wager, Wang & Liang, NeurIPS 2013). The masks are a second noise, which none of them counts:
all four are too bold. With half of the inputs kept Q_b is up to {sgd:.1f} times too bold, and that of the penalised loss up to {penalised:.1f} times:
for the smallest batches the penalty mostly makes it worse. For full batches λ_max of the penalised loss is within {full:.0%}. The claims
`dropout-edge/…` follow SGD with dropout to its edge.
"""
SLOPE = """## The slope −1.27 of self-stabilisation

Liao et al. report that the gap 2/η − S falls as b^−1.27. Their closed form ηβσ_u²/(4α) has the slope −1 (with c = 1/b). The three
terms of its own dynamics, E δ = s²/2 + ½E[δ²ξ²] + ½κE(ξ²−1)² (`theory/self_stabilisation_gap.py`), have another one: the second
term is of second order in 1/b and makes it steeper, the third does not depend on b to leading order and makes it flatter. *All orders*
is the balance at fixed sharpness, 1 − √(1 − s²). s² and the gap (in units of 1/η) are those at b = 8, the slope is fitted to b = 8, 16 …
128. Without replacement c = (n−b)/(b(n−1)) has the local slope −n/(n−b), which is −1.27 at b = 0.21n.
So the three terms alone do not give −1.27 here: the steepest slope is −1.06 over all b, and −1.22 from b = 8 to 16, where the gap is
nearly a quarter of 2/η.
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
# Heading, name of the rows, and which of their keys say what was measured.
MORE = (
    (BOUNDS, "bounds", ("ensemble", "b")),
    (ZEROTH, "zeroth order", ("ensemble",)),
    (SHARPNESS_AWARE, "sharpness aware", ("ensemble", "b", "ρλ_max")),
    (PRECONDITIONED, "preconditioned", ("ensemble", "b")),
    (DECAY, "weight decay", ("ensemble", "b")),
    (DROPOUT, "dropout", ("ensemble", "b", "kept")),
    (SLOPE, "slope", ("s²", "κ")),
)


def table(rows: list[Row], keys: tuple[str, ...], edges: tuple[str, ...]) -> str:
    """A Markdown table: the keys as they are, the edges to two digits, the closest in bold."""
    lines = ["| " + " | ".join((*keys, *edges)) + " |", "|" + "---|" * len(keys) + "---:|" * len(edges)]
    for row in rows:
        names = [str(row[key]) for key in keys]
        numbers = [f"**{_number(row[edge])}**" if row.get("closest") == edge else _number(row[edge]) for edge in edges]
        lines.append("| " + " | ".join(names + numbers) + " |")
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:.2f}"


def boldest(rows: list[Row]) -> dict[str, float]:
    """Of dropout: Q_b without and with the penalty where b < n, and how far off λ_max of the penalised loss is for
    b = n."""
    last = {row["ensemble"]: int(row["b"]) for row in rows}
    small = [row for row in rows if int(row["b"]) < last[row["ensemble"]]]
    return {
        "sgd": max(float(row["SGD"]) for row in small),
        "penalised": max(float(row["SGD, penalised"]) for row in small),
        "full": max(float(row["full batch, penalised"]) for row in rows if row not in small) - 1,
    }


def measure(quick: bool = False) -> dict[str, list[Row]]:
    """The numbers of every table."""
    return {
        "regression": published_edges.closest_table(quick),
        "heavy ball": published.heavy_ball_table(quick),
        "network": self_stabilisation.closest_rows(quick),
        "bounds": edge_tables.bounds_rows(quick),
        "zeroth order": edge_tables.zeroth_order_rows(quick),
        "sharpness aware": edge_tables.sharpness_aware_rows(quick),
        "preconditioned": edge_tables.preconditioned_rows(quick),
        "weight decay": edge_tables.weight_decay_rows(quick),
        "dropout": edge_tables.dropout_rows(quick),
        "slope": edge_tables.slope_rows(quick),
    }


def markdown(content: dict[str, list[Row]]) -> str:
    """The whole page."""
    heavy_ball = ("small-batch end", "large-batch end", "formula of one dimension")
    parts = [HEAD, REGRESSION, table(content["regression"], ("ensemble", "b"), tuple(published_edges.EDGES))]
    parts += [HEAVY_BALL, table(content["heavy ball"], ("ensemble", "b", "momentum"), heavy_ball)]
    parts += [NETWORK, table(content["network"], ("seed", "b"), ("self-stabilisation", "gradient descent", "gap/ηα"))]
    for head, name, keys in MORE:
        edges = tuple(key for key in content[name][0] if key not in (*keys, "closest"))
        if name == "dropout":
            head = head.format(**boldest(content[name]))
        parts += [head, table(content[name], keys, edges)]
    return "\n".join([*parts, SOURCES])


def main() -> int:
    return keep_measured_page(__file__, markdown, measure)


if __name__ == "__main__":
    sys.exit(main())
