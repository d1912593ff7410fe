"""`@claim`: a claim is declared above the function that decides it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from esssim.claims.claim import REGISTRY, Accepted, Cell, Claim, Measurement, Predicted, Registry
from esssim.papers import Paper, Source

if TYPE_CHECKING:
    from esssim.experiments import Configuration

Setting = Mapping[str, Any]
Decides = TypeVar("Decides", bound=Callable[..., Measurement])
# A value, or what gives it for one setting.
Text = str | Callable[..., str]


def claim(
    *,
    id: Text,
    states: Text,
    source: Source | Paper | Callable[..., Source | Paper],
    source_predicts: Text,
    we_predict: Predicted | Callable[..., Predicted],
    method: Text,
    tolerance: float | Callable[..., float | None] | None = None,
    over: Iterable[Setting] | None = None,
    where: Text = "",
    cell: Callable[..., Cell] | None = None,
    quick: bool | Callable[..., bool] = True,
    extra: str | None = None,
    experiment: Callable[..., Configuration | Sequence[Configuration]] | None = None,
    formula: Text = "",
    accepts: Accepted | Callable[..., Accepted] | None = None,
    about: Sequence[str] | Callable[..., Sequence[str]] = (),
    stated: Text | None = None,
    registry: Registry | None = None,
) -> Callable[[Decides], Decides]:
    """Register a claim, or one for each setting of `over`, decided by the function below: f(*, quick, **setting).

    id, states, method, where: text in which {name} stands for a value of the setting (where `over` is given), or a
    function of the setting, as all other fields may be. states: the sentence; where: its setting in words, in brackets
    at its end. source_predicts, we_predict: the value or verdict of the source, and ours, stated before the run on the
    day `stated`. accepts: the values with which the claim holds, from `around`, `at_most` or `at_least`. cell: the
    place of a level in the tables. quick: whether a short run can decide it; extra: the optional part of the package
    that it needs. experiment: the runs that decide it, f(quick=…, **setting), whose TOML the report shows. formula: the
    sentence as LaTeX. about: the keys of its statistics. registry: by default that of `esssim verify`.
    Raises ValueError when an id is taken.
    """
    chosen = REGISTRY if registry is None else registry

    def register(function: Decides) -> Decides:
        for setting in [{}] if over is None else over:

            def of(field: Any, setting: Setting = setting) -> Any:
                if callable(field):
                    return field(**setting)
                return field.format(**setting) if isinstance(field, str) and over is not None else field

            def measure(quick: bool, setting: Setting = setting) -> Measurement:
                return function(quick=quick, **setting)

            def experiments(quick: bool, setting: Setting = setting) -> Sequence[Configuration]:
                found = () if experiment is None else experiment(quick=quick, **setting)
                return found if isinstance(found, Sequence) else (found,)

            predicted = of(we_predict)
            if predicted.on is None and stated is not None:
                predicted = replace(predicted, on=of(stated))
            chosen.add(
                Claim(
                    id=of(id),
                    sentence=of(states),
                    where=of(where),
                    source=of(source),
                    source_predicts=of(source_predicts),
                    we_predict=predicted,
                    method=of(method),
                    tolerance=of(tolerance),
                    measure=measure,
                    in_quick=of(quick),
                    extra=extra,
                    setting={name: _plain(value) for name, value in setting.items()},
                    cell=None if cell is None else of(cell),
                    experiments=experiments,
                    # Its braces are those of LaTeX.
                    formula=formula(**setting) if callable(formula) else formula,
                    accepts=of(accepts),
                    about=tuple(of(about)),
                ),
                function.__module__,
            )
        return function

    return register


def _plain(value: Any) -> Any:
    """A value of a setting as JSON takes it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(part) for name, part in asdict(value).items()}
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value
