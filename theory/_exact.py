"""What every proof needs: equality that is proved, and expectations over batches in rational arithmetic."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import sympy


def same(left: Any, right: Any, step: str) -> None:
    """Assert left = right for expressions or matrices: the difference simplifies to zero, entry by entry."""
    if isinstance(left, sympy.MatrixBase):
        assert left.shape == right.shape, f"{step}: shapes {left.shape} and {right.shape}"
        for first, second in zip(left, right, strict=True):
            same(first, second, step)
        return
    difference = sympy.sympify(left) - sympy.sympify(right)
    # The cheap ways first: most differences of rational functions vanish before they have to be simplified.
    for reduce in (sympy.expand, sympy.cancel, sympy.simplify):
        if difference == 0:
            return
        if reduce is not sympy.expand and _differs_at_a_point(difference):
            break
        difference = reduce(difference)
    assert difference == 0, f"{step}: the two sides differ by {difference}"


def _differs_at_a_point(difference: sympy.Expr) -> bool:
    """Whether it is plainly not zero for some positive numbers: then there is nothing to simplify."""
    symbols = sorted(difference.free_symbols, key=str)
    point = {x: sympy.Integer(k + 5) if x.is_integer else sympy.Rational(k + 2, k + 7) for k, x in enumerate(symbols)}
    value = difference.subs(point).evalf(30)
    return bool(value.is_number and value.is_finite and abs(value) > 1e-20)


def law(n: int, b: int, with_replacement: bool) -> Iterator[tuple[tuple[int, ...], sympy.Rational]]:
    """Every ordered draw of b among n with its probability."""
    draws = itertools.product(range(n), repeat=b) if with_replacement else itertools.permutations(range(n), b)
    probability = sympy.Rational(1, n**b) if with_replacement else sympy.Rational(1, int(sympy.ff(n, b)))
    for draw in draws:
        yield draw, probability


def expectation(function: Callable[[tuple[int, ...]], Any], n: int, b: int, with_replacement: bool) -> Any:
    """E_B[f(B)] by going through every draw."""
    terms = [probability * function(draw) for draw, probability in law(n, b, with_replacement)]
    return sum(terms[1:], terms[0])


def batch_mean(samples: list[Any], draw: tuple[int, ...]) -> Any:
    """The mean of the drawn samples, numbers or matrices."""
    terms = [samples[i] for i in draw]
    return sum(terms[1:], terms[0]) / len(draw)


def mean(samples: list[Any]) -> Any:
    """The mean of all samples."""
    return batch_mean(samples, tuple(range(len(samples))))


def coefficient(n: int, b: int, with_replacement: bool) -> sympy.Rational:
    """c of the moment identity, in rational arithmetic (proved in `theory.moment_identity`)."""
    return sympy.Rational(1, b) if with_replacement else sympy.Rational(n - b, b * (n - 1))


def integers(seed: int, *shape: int) -> Any:
    """Small integers that look random, the same for the same seed: a number, or nested lists."""
    state = itertools.count(seed * 1000 + 1)

    def build(sides: tuple[int, ...]) -> Any:
        if not sides:
            return sympy.Integer((next(state) * 7919 + 104729) % 1009 % 9 - 4)
        return [build(sides[1:]) for _ in range(sides[0])]

    return build(shape)


def symmetric_matrices(seed: int, n: int, p: int) -> list[sympy.Matrix]:
    """n symmetric integer matrices."""
    raw = [sympy.Matrix(rows) for rows in integers(seed, n, p, p)]
    return [matrix + matrix.T for matrix in raw]


SCHEMES = ((4, 1, False), (4, 2, False), (4, 3, False), (3, 2, True), (3, 3, True))
