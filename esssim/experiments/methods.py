"""Methods other than SGD in an experiment: the keys of its section `method`, and their edge at a minimum."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from esssim import stability
from esssim._validate import FloatArray
from esssim.adaptive import Adam, PreconditionedMethod, RMSProp
from esssim.dropout import Dropout
from esssim.experiments.sections import Momentum, Positive, Section, of_kind
from esssim.gradient_noise import DiagonalNoise, GradientNoise, IsotropicNoise
from esssim.problems import Problem
from esssim.problems.base import HessianKind
from esssim.sampling import Sampling
from esssim.sharpness_aware import SharpnessAware
from esssim.statistics.table import MOMENTUM_BATCH, OWN, PRECONDITIONED
from esssim.zeroth_order import ZerothOrder

Steps = Sampling | GradientNoise | ZerothOrder | SharpnessAware | Dropout
BATCHES = ("without_replacement", "with_replacement", "reshuffled")


class RMSPropSection(Section):
    """`es.RMSProp`."""

    kind: Literal["rmsprop"] = "rmsprop"
    decay: Momentum = 0.99
    epsilon: Positive = 1e-8


class AdamSection(Section):
    """`es.Adam`."""

    kind: Literal["adam"] = "adam"
    decay: Momentum = 0.999
    momentum: Momentum = 0.9
    epsilon: Positive = 1e-8


class ZerothOrderSection(Section):
    """`es.ZerothOrder`."""

    kind: Literal["zeroth_order"] = "zeroth_order"


class SharpnessAwareSection(Section):
    """`es.SharpnessAware`."""

    kind: Literal["sharpness_aware"] = "sharpness_aware"
    radius: Positive
    normalised: bool = True


class DropoutSection(Section):
    """`es.Dropout` of the inputs of linear regression and diagonal networks."""

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[Positive, Field(lt=1)]


class NoiseSection(Section):
    """`es.IsotropicNoise` or `es.DiagonalNoise` of the full gradient, in the place of batches."""

    kind: Literal["isotropic_noise", "diagonal_noise"]


MethodSection = Annotated[
    RMSPropSection | AdamSection | ZerothOrderSection | SharpnessAwareSection | DropoutSection | NoiseSection,
    Field(discriminator="kind"),
    of_kind(RMSPropSection, AdamSection, ZerothOrderSection, SharpnessAwareSection, DropoutSection, NoiseSection),
]


def adaptive_of(section: Section | None) -> PreconditionedMethod | None:
    """The adaptive method of a section; None for any other."""
    if isinstance(section, RMSPropSection):
        return RMSProp(section.decay, section.epsilon)
    return Adam(section.decay, section.epsilon, section.momentum) if isinstance(section, AdamSection) else None


def steps_of(section: Section | None, batches: Sampling) -> Steps:
    """What `simulate` takes as its `sampling`."""
    if isinstance(section, ZerothOrderSection):
        return ZerothOrder(batches)
    if isinstance(section, SharpnessAwareSection):
        return SharpnessAware(batches, section.radius, section.normalised)
    if isinstance(section, DropoutSection):
        return Dropout(batches, section.rate)
    if isinstance(section, NoiseSection):
        return (IsotropicNoise if section.kind == "isotropic_noise" else DiagonalNoise)(batches.batch_size)
    return batches


def why_not(section: Section, scheme: str, momentum: float, step_size_unit: str) -> tuple[tuple[str, ...], str] | None:
    """The key that cannot stand beside a method, and why; None where all can."""
    kind = str(getattr(section, "kind", ""))
    if isinstance(section, NoiseSection) and scheme != "without_replacement":
        return ("sampling", "scheme"), f"must be 'without_replacement' for {kind!r}, got {scheme!r}"
    if scheme not in BATCHES:
        return ("sampling", "scheme"), f"must draw batches for {kind!r}, got {scheme!r}"
    if adaptive_of(section) is not None and momentum > 0:
        return ("dynamics", "momentum"), f"must be 0 for {kind!r}, got {momentum:g}; 'adam' has one of its own"
    if step_size_unit != "absolute" and (words := without_an_edge(section, momentum)):
        return ("dynamics", "step_size", "unit"), f"must be 'absolute' for {kind!r}: {words}"
    return None


def without_an_edge(section: Section | None, momentum: float) -> str:
    """Why a method has no edge that is known before its first step; empty where it has one."""
    if adaptive_of(section) is not None:
        return "its edge depends on the gradients that it has seen"
    if isinstance(section, SharpnessAwareSection) and section.normalised:
        return "with normalised = true its edge on batches is not known"
    if momentum > 0 and isinstance(section, ZerothOrderSection | SharpnessAwareSection | DropoutSection):
        return "its edge with momentum is not known"
    return ""


def why_not_recorded(name: str, section: Section | None, scheme: str, momentum: float) -> str:
    """Why a statistic of the method cannot be recorded; empty where it can, and for those of SGD."""
    heavy_ball = section is None and momentum > 0 and scheme in BATCHES
    if name.startswith(PRECONDITIONED) and adaptive_of(section) is None:
        return f"{name!r} needs an adaptive method, such as kind = 'adam' in the section 'method'"
    if name == MOMENTUM_BATCH and not heavy_ball:
        return f"{name!r} needs batches, dynamics.momentum above 0, and no section 'method'"
    if name != OWN or heavy_ball:
        return ""
    if section is None or isinstance(section, NoiseSection):
        return f"{name!r} needs dynamics.momentum above 0, or a section 'method' other than noise"
    if scheme == "reshuffled":
        return f"{name!r} needs independent batches, got 'reshuffled'"
    return "" if adaptive_of(section) else f"{name!r}: {words}" if (words := without_an_edge(section, momentum)) else ""


def edge_of(
    steps: Steps, problem: Problem, theta: FloatArray, hessian: HessianKind, momentum: float, nesterov: bool
) -> float:
    """The critical step size of these steps at a minimum, infinite where its Hessians are zero."""
    if isinstance(steps, ZerothOrder):
        return stability.zeroth_order_step_size(problem, theta, steps.sampling, hessian=hessian)
    if isinstance(steps, SharpnessAware):
        return stability.sharpness_aware_step_size(problem, theta, steps.sampling, steps.radius, hessian=hessian)
    if isinstance(steps, Dropout):
        return stability.dropout_step_size(problem, theta, steps.sampling, steps.rate)
    options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "hessian": hessian}
    return stability.critical_step_size(problem, theta, steps, **options)
