"""How many modes of K the flow works with: all of them, or for a large K so many leading ones that more change
nothing.
"""

from __future__ import annotations

from dataclasses import replace

from esssim import _validate
from esssim._validate import FloatArray
from esssim.flow import rows
from esssim.flow.law import Law
from esssim.flow.rows import LeastSquaresProblem

# Up to this rank all modes take no longer than some.
LARGEST_DENSE = 1000
FEWEST, ENOUGH = 64, 5e-3


def first_rank(problem: LeastSquaresProblem, rank: int | None) -> int | None:
    """The number of leading modes to begin with; None for all."""
    size = _largest_rank(problem)
    if rank is None:
        return FEWEST if size > LARGEST_DENSE else None
    rank = _validate.integer("rank", rank, 1)
    return rank if rank < size else None


def with_enough_modes(law: Law, start: FloatArray) -> Law:
    """The law with twice as many leading modes as long as that changes what the noise pushes with; then with all."""
    while law.rank is not None and law.error_of_rank(0.0, law.at(start)) > ENOUGH:
        more = 2 * law.rank
        law = replace(law, rank=more if more < _largest_rank(law.problem) / 2 else None)
    return law


def _largest_rank(problem: LeastSquaresProblem) -> int:
    return min(problem.n_samples * rows.n_outputs(problem), problem.n_params)
