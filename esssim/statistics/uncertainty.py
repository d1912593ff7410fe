"""A number with its error, and arithmetic that carries the errors along."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field, replace

from esssim import _validate
from esssim._intervals import student_quantile

EPS = 2.0**-52
# An error of rounding only: how a value that every batch agrees on differs from itself.
ROUNDING = 1e-12


class HeavyTailWarning(UserWarning):
    """An estimate rests on so few effective batches that its interval may be too short."""


class Stream:
    """Random numbers of unknown origin: independent of all others."""


@dataclass(frozen=True)
class Source:
    """An error that one estimate brings in. Sources of one stream may depend on each other in any way."""

    stream: Hashable
    key: Hashable
    standard_error: float
    degrees: float


Errors = tuple[tuple[Source, float], ...]


@dataclass(frozen=True)
class Estimate:
    """A number with its uncertainty: `exact` ones enumerate every batch and have standard_error 0.

    degrees: of freedom of the standard error, n_batches − 1 if None. n_effective: how many batches carry the error,
    (Σ|x|)²/Σx² of their deviations x, where that is known. lower, upper: bounds on the true value that are certain.

    +, −, ·, / with numbers are exact; between estimates errors propagate to first order (products: with the error of
    the product of both errors). Estimates from different seeds count as independent. Those from one seed may depend on
    each other, and their errors add up without cancelling: an upper bound. The same estimate is known for itself:
    x − x is exactly 0. A quotient needs a divisor whose 95 % interval excludes 0.
    """

    value: float
    standard_error: float
    n_batches: int
    exact: bool
    degrees: float | None = None
    n_effective: float | None = None
    lower: float = -math.inf
    upper: float = math.inf
    errors: Errors = field(init=False, repr=False, compare=False)

    # numpy's scalars and arrays leave the arithmetic to this class.
    __array_ufunc__ = None

    def __post_init__(self) -> None:
        stream = Stream()
        self._set_errors(stream, stream)

    def _set_errors(self, stream: Hashable, key: Hashable) -> None:
        source = Source(stream, key, self.standard_error, self._degrees)
        object.__setattr__(self, "errors", () if self.exact else ((source, 1.0),))

    def drawn_from(self, stream: Hashable) -> Estimate:
        """The same, of batches drawn from this stream of random numbers."""
        self._set_errors(stream, (self.value, self.standard_error, self.n_batches))
        return self

    def within(self, lower: float, upper: float) -> Estimate:
        """The same with bounds on the true value, which the value keeps too."""
        value = min(max(self.value, lower), upper)
        found = replace(self, value=value, lower=max(lower, self.lower), upper=min(upper, self.upper))
        object.__setattr__(found, "errors", self.errors)
        return found

    @property
    def _degrees(self) -> float:
        return self.n_batches - 1 if self.degrees is None else self.degrees

    def half_width(self, confidence: float = 0.95) -> float:
        """t·standard_error with Student's t: what stands after ± wherever an estimate is shown; 0 when exact."""
        level = _validate.real("confidence", confidence, above=0.0, below=1.0)
        return 0.0 if self.exact else student_quantile(self._degrees, level) * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """Student's 95 % interval value ± t·standard_error, cut at `lower` and `upper`; a point when exact."""
        return self.confidence_interval()

    def confidence_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The same at another level of confidence."""
        half = self.half_width(confidence)
        if self.exact or half == 0.0 or not math.isfinite(self.value):
            return self.value - half, self.value + half
        return max(self.value - half, self.lower), min(self.value + half, self.upper)

    def __float__(self) -> float:
        return float(self.value)

    def __str__(self) -> str:
        if self.exact:
            batches = f", {self.n_batches:,} batch{'es' * (self.n_batches > 1)}" if self.n_batches else ""
            return f"{self.value:.6g} (exact{batches})"
        effective = "" if self.n_effective is None else f", {self.n_effective:,.0f} effective"
        return f"{self.value:.6g} ± {self.half_width():.2g} (95 %, {self.n_batches:,} batches{effective})"

    def __neg__(self) -> Estimate:
        return self * -1.0

    def __pos__(self) -> Estimate:
        return self

    def __abs__(self) -> Estimate:
        return -self if self.value < 0 else self

    def __add__(self, other: object) -> Estimate:
        if (number := _number(other)) is not None:
            return _combined(self.value + number, [(self, 1.0)], (self.lower + number, self.upper + number))
        if not isinstance(other, Estimate):
            return NotImplemented
        bounds = (self.lower + other.lower, self.upper + other.upper)
        return _combined(self.value + other.value, [(self, 1.0), (other, 1.0)], bounds)

    __radd__ = __add__

    def __sub__(self, other: object) -> Estimate:
        if (number := _number(other)) is not None:
            return self + -number
        return self + -other if isinstance(other, Estimate) else NotImplemented

    def __rsub__(self, other: object) -> Estimate:
        return -self + other

    def __mul__(self, other: object) -> Estimate:
        if (number := _number(other)) is not None:
            ends = (self.lower * number, self.upper * number) if number else (0.0, 0.0)
            return _combined(self.value * number, [(self, number)], (min(ends), max(ends)))
        if not isinstance(other, Estimate):
            return NotImplemented
        terms = [(self, other.value), (other, self.value)]
        return _combined(self.value * other.value, terms, _sign(self, other), _product_of_errors(self, other))

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Estimate:
        if (number := _number(other)) is not None:
            if number == 0.0:
                raise ZeroDivisionError("division of an Estimate by zero")
            ends = (self.lower / number, self.upper / number)
            return _combined(self.value / number, [(self, 1.0 / number)], (min(ends), max(ends)))
        if not isinstance(other, Estimate):
            return NotImplemented
        low, high = other.interval
        if low <= 0.0 <= high:
            raise ValueError(
                f"the divisor of a quotient must differ from 0: its 95 % interval is [{low:.6g}, {high:.6g}]"
            )
        quotient = self.value / other.value
        terms = [(self, 1.0 / other.value), (other, -quotient / other.value)]
        return _combined(quotient, terms, _sign(self, other))

    def __rtruediv__(self, other: object) -> Estimate:
        if (number := _number(other)) is None:
            return NotImplemented
        return Estimate(number, 0.0, 0, True, lower=number, upper=number) / self


def _number(other: object) -> float | None:
    return float(other) if isinstance(other, numbers.Real) else None


def _sign(one: Estimate, other: Estimate) -> tuple[float, float]:
    """Of products and quotients only the sign is known for certain."""
    return (0.0, math.inf) if one.lower >= 0.0 and other.lower >= 0.0 else (-math.inf, math.inf)


def _product_of_errors(one: Estimate, other: Estimate) -> Source | None:
    """The error δδ' that first order leaves out: of standard error σσ', or up to √2σσ' where both depend on each
    other.
    """
    if one.exact or other.exact:
        return None
    streams = [{source.stream for source, _ in estimate.errors} for estimate in (one, other)]
    size = one.standard_error * other.standard_error * (math.sqrt(2.0) if streams[0] & streams[1] else 1.0)
    stream = Stream()
    return Source(stream, stream, size, min(one._degrees, other._degrees)) if size > 0.0 else None


def _combined(
    value: float, terms: Iterable[tuple[Estimate, float]], bounds: tuple[float, float], more: Source | None = None
) -> Estimate:
    """value with the error Σ coefficient·error; what cancels is gone, and the rest adds up within each stream."""
    operands = [(estimate, coefficient) for estimate, coefficient in terms]
    sums: dict[Source, tuple[float, float]] = {}
    for estimate, coefficient in operands:
        for source, own in estimate.errors:
            total, size = sums.get(source, (0.0, 0.0))
            sums[source] = total + coefficient * own, size + abs(coefficient * own)
    kept = [(source, total) for source, (total, size) in sums.items() if not abs(total) <= 8 * EPS * size < math.inf]
    if more is not None:
        kept.append((more, 1.0))
    exact = not kept
    deviations: dict[Hashable, float] = {}
    degrees: dict[Hashable, float] = {}
    for source, total in kept:
        deviations[source.stream] = deviations.get(source.stream, 0.0) + abs(total) * source.standard_error
        degrees[source.stream] = min(degrees.get(source.stream, math.inf), source.degrees)
    error = math.hypot(*deviations.values())
    freedom = satterthwaite([(deviation, degrees[stream]) for stream, deviation in deviations.items()])
    drawn = [estimate for estimate, _ in operands if not estimate.exact]
    effective = [estimate.n_effective for estimate in drawn if estimate.n_effective is not None]
    found = Estimate(
        value,
        error,
        min((estimate.n_batches for estimate in drawn), default=max(estimate.n_batches for estimate, _ in operands)),
        exact,
        None if exact else freedom,
        min(effective, default=None),
        *((-math.inf, math.inf) if math.isnan(bounds[0]) or math.isnan(bounds[1]) else bounds),
    )
    object.__setattr__(found, "errors", tuple(kept))
    return found


def satterthwaite(parts: Iterable[tuple[float, float]]) -> float:
    """Degrees of freedom of √Σσ² for independent standard errors σ of ν degrees each: (Σσ²)²/Σ(σ⁴/ν)."""
    known = [(deviation, degrees) for deviation, degrees in parts]
    largest = max((deviation for deviation, _ in known), default=0.0)
    if not largest > 0.0 or not math.isfinite(largest):
        return min((degrees for _, degrees in known), default=0.0)
    shares = [((deviation / largest) ** 2, degrees) for deviation, degrees in known]
    return sum(share for share, _ in shares) ** 2 / sum(share**2 / degrees for share, degrees in shares if share > 0.0)
