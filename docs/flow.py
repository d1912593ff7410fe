"""SGD against the flow in numbers: python docs/flow.py writes docs/flow.md from docs/results.json and docs/networks.json.

`--check` only compares the page with the published results.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from esssim.report.pages import keep_page

FOLDER = Path(__file__).parent
HEAD = """# The stochastic central flow

Made by `python docs/flow.py` from the published results. With label noise ε, or with noise that is frozen in the targets, SGD drifts along
the solutions of a least-squares model. `esssim.flow` solves the law of that drift,

    dθ/dt = −(η/n) P Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ],   R the stationary covariance of the residuals,

and says where every statistic settles, without SGD and with nothing fitted. R is singular exactly at the mean-square edge
ηQ_b = 2: a wall, which a rising step size follows at a distance ∝ ε²/(its speed). The theorem, its assumptions, and what of
it is proved: [theory](../theory/stochastic_central_flow.py).

| what | how | derivation |
|---|---|---|
| the flow along the solutions | `es.flow.solve(problem, theta0, step_size=..., sampling=..., n_steps=..., label_noise=...)` | [one output](../theory/stochastic_central_flow.py) |
| where each statistic settles | `es.flow.levels(...)`, the same arguments and `after` | |
| the mean of SGD off the solutions, from any start | `follow="mean"` | [next order](../theory/mean_flow.py) |
| flows of others, for full batches | `es.flow.central_flow`, `edge_flow`, `rod_flow` | [beside ours](full_batch.md) |
| heavy ball | `momentum=β` | [momentum](../theory/momentum_flow.py) |
| a large K, by products with J alone | above 1000 residuals and parameters by itself, or `rank=r` | [leading modes](../theory/leading_modes.py) |
| several outputs, torch networks too | `MultiOutputLeastSquares`, `esssim.bridge.TorchProblem` | [several outputs](../theory/several_outputs.py) |
| a model of your own | three methods: [one output](examples/quadratic_network.py), [several](examples/several_outputs.py) | |

Batch sharpness is a mean of ratios, which the covariance R does not decide: batches multiply the residuals, so that their law
is a mixture of bursts along the top modes and quiet times. The flow therefore samples it from the fast motion itself at each
record, by a few hundred steps of r ← r − ηK(w∘(r + r* − εz)) in the eigenbasis of K. A Gaussian of the same covariance gives
the bursts too much weight, and is right only for full batches.

## What it returns

| variable | meaning |
|---|---|
| `theta`, the statistics of `record` | along the flow, with Gauss–Newton Hessians; sampled ones with their standard error |
| `loss` | E‖r* + r‖²/2n without the label noise; r* are the residuals that no θ fits, which act as noise frozen in the targets |
| `distance_to_edge` | 1 − η/η_c, η_c the mean-square edge: 2/Q_b without momentum |
| `next_order_correction` | relative change of Q_b to its mean over the spread of SGD about the mean flow |
| `error_estimate` | its absolute value, infinite where the mean flow ends before |
| `burst_correction` | relative change of Q_b to where SGD typically is between bursts; 0 for b = n and without noise, NaN with momentum |
| `tail_index` | exponent 2(1 + κδ) of the law of ‖r‖, 2 at the mean-square edge; infinite for b = n and without noise |
| `almost_sure_excess` | relative change of Q_b to the almost-sure edge, where the tail index is 0 |
| `diverged_at` | the step from which on no stable solution is in reach; −1 for none |
| `gave_up_at` | the step from which on there are no numbers: `most_evaluations` were used up, or dθ/dt jumps away from the edge, as in a model with kinks (ReLU); −1 for none |
| `n_evaluations` | how often dθ/dt was computed |

The mean of SGD off the solutions, `follow="mean"`, solves dθ/dt = −(η/n) [Jᵀr + Σᵢ ∇²fᵢ(θ)[JᵀK⁺R eᵢ]], r = f(θ) − y. It is
also the course of training from an initialisation, as far as the noise is quasi-stationary on it.

## What it costs

A right-hand side takes O(n³ + np). Where n·c (c outputs) and p are both above 1000 it takes O(npr), by products with J alone: R in the r leading
modes of K, and the part of all others to first order in their eigenvalues, for noise of equal power in all samples. `rank=None`
doubles r from 64 until what the noise pushes with at the start changes by less than 0.5 % of all that drives the flow there, and takes all modes where a quarter of
them is not enough. The leading modes are searched from those of the evaluation before, and the solver's tolerance is then 1e-4. From its
initialisation a tanh network of 1,210 parameters with 1,280 residuals (64–16–10, 128 digits, b = 16, η = 0.4·2/Q_b(θ₀), 1,000 steps) takes
338 right-hand sides and 37 seconds of one core. With the first solver one right-hand side took 6.6 seconds. The attributes have `rank` (0 for all) and `error_of_rank`, that change at the last record.

Where several modes of K come to the edge together, the velocity changes fast along every pair of them. The solver knows the pairs of up to eight such modes
(`esssim.flow.wall`). Each pair costs a linear solve for the noise and two products with the model's Hessians.

Batch sharpness and the interaction-aware sharpness are averages over samples of the residuals. The samples
come from 128 independent chains, so that `n_batches` is rounded up to a multiple of 128.

## When not to believe it

* `error_estimate` is the relative distance of Q_b to the next order. Where it is more than a per cent or two follow the mean:
  networks, whose K has small eigenvalues (4 % below), and targets with noise of their own, where a coordinate of the solution is
  smaller than its fluctuation (half of the level).
* Within a few per cent of the wall the mean square is made of bursts, the large ones so rare that SGD climbs past the edge
  between them. `burst_correction` is the relative distance of Q_b to where SGD is then, typically, from the tail exponent of
  the bursts, the rate at which they grow and the speed at which the flow is pushed (`esssim.flow.bursts`). The average of SGD
  over a ramp is mostly between the flow and that, because after the largest bursts SGD is far below: where it is 0.01 or more
  in size do not believe the flow to a per cent ([bursts](../theory/bursts.py)). It is no lag: second moments that move along
  with θ instead of being stationary give the same level to four digits. With momentum it is not known.
* In training from an initialisation the runs of SGD lie far apart, and the flow is that of one mean path: the average of the
  runs is then not the run of the average. In most networks that were tried it gives their levels all the same
  ([networks from their start](courses.md)), and with the smallest batches it gives up in most. Runs pass the edge at the onset, which the flow cannot. Eight times it was solved
  from the weights of a run that is back below the edge, and its Q_b was always within 3 % of that of the run. The claim `flow-training/from-step-2000` asks this of a network on 60 samples.
* From `diverged_at` on, where that is not −1: the flow met a wall that it cannot leave, for want of noise or of a stable
  solution in reach.
* The batches must be independent (no reshuffling), the loss squared, θ₀ a minimum (`follow="mean"`: any point).
"""
LEVELS = """## Levels on a rising step size

(η/2)·statistic of SGD over that of the flow, averaged over the last two thirds of the ramp; the interval is of the one farther from 1.
Tolerance: 2 %, 3 % for torch networks.
"""
OTHERS = """## Beyond the levels
"""
OTHER_FAMILIES = ("flow-next-order", "flow-training", "flow-wall", "flow-bursts", "flow-bias")
MARKS = {"holds": "holds", "refuted": "refuted", "inconclusive": "no verdict", "skipped": "not run"}


def ratio(claim: dict[str, Any], statistic: str) -> str:
    """SGD over flow of one statistic."""
    found = claim["values"].get(f"{statistic}_ratio")
    return "" if found is None else f"{found:.4f}"


def levels(claims: list[dict[str, Any]]) -> str:
    """A row for every setting in which the levels were compared."""
    lines = ["| setting | mean-square sharpness | MiniBS | interval | verdict |", "|---|---:|---:|---:|---|"]
    for claim in claims:
        if claim["family"] not in ("flow-levels", "network-flow-levels") or claim["verdict"] == "skipped":
            continue
        low, high = claim["interval"] or (float("nan"),) * 2
        numbers = (
            f"{ratio(claim, 'mean_square_sharpness')} | {ratio(claim, 'minibatch_sharpness')} | {low:.3f} to {high:.3f}"
        )
        lines.append(f"| {claim['where']} | {numbers} | {MARKS[claim['verdict']]} |")
    return "\n".join(lines) + "\n"


def others(claims: list[dict[str, Any]]) -> str:
    """A row for every other claim about the flow."""
    lines = ["| claim | measured | verdict |", "|---|---|---|"]
    for claim in claims:
        if claim["family"] in OTHER_FAMILIES or claim["id"] == "flow-batch-sharpness/all":
            lines.append(f"| `{claim['id']}`: {claim['statement']} | {claim['reason']} | {MARKS[claim['verdict']]} |")
    return "\n".join(lines) + "\n"


def markdown() -> str:
    """The whole page."""
    core, networks = (
        json.loads((FOLDER / name).read_text(encoding="utf-8"))["claims"] for name in ("results.json", "networks.json")
    )
    return "\n".join([HEAD, LEVELS, levels(core + networks), OTHERS, others(core)])


def main() -> int:
    return keep_page(__file__, markdown)


if __name__ == "__main__":
    sys.exit(main())
