"""Methods other than SGD in an experiment: the keys of its section `method`, and what they cannot stand beside."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from esssim.adaptive import Adam, PreconditionedMethod, RMSProp
from esssim.batch_method import BatchMethod
from esssim.dropout import Dropout
from esssim.experiments.sections import Momentum, Positive, Section, of_kind
from esssim.gradient_noise import DiagonalNoise, GradientNoise, IsotropicNoise
from esssim.sampling import Sampling
from esssim.sharpness_aware import SharpnessAware
from esssim.statistics.table import MOMENTUM_BATCH, OWN, PRECONDITIONED
from esssim.zeroth_order import ZerothOrder

Steps = Sampling | GradientNoise | BatchMethod
BATCHES = ("without_replacement", "with_replacement", "reshuffled")


class Method(Section):
    """What a method is for `simulate`, and what of it is known before its first step."""

    kind: str

    @property
    def adaptive(self) -> PreconditionedMethod | None:
        """The `adaptive` of `simulate`."""
        return None

    @abstractmethod
    def steps(self, batches: Sampling) -> Steps:
        """The `sampling` of `simulate`."""

    def without_an_edge(self, momentum: float) -> str:
        """Why no edge is known at the start; empty where it is."""
        return "its edge with momentum is not known" if momentum > 0 else ""


class _Adaptive(Method):
    def steps(self, batches: Sampling) -> Steps:
        return batches

    def without_an_edge(self, momentum: float) -> str:
        return "its edge depends on the gradients that it has seen"


class RMSPropSection(_Adaptive):
    """`es.RMSProp`."""

    kind: Literal["rmsprop"] = "rmsprop"
    decay: Momentum = 0.99
    epsilon: Positive = 1e-8

    @property
    def adaptive(self) -> PreconditionedMethod:
        return RMSProp(self.decay, self.epsilon)


class AdamSection(_Adaptive):
    """`es.Adam`."""

    kind: Literal["adam"] = "adam"
    decay: Momentum = 0.999
    momentum: Momentum = 0.9
    epsilon: Positive = 1e-8

    @property
    def adaptive(self) -> PreconditionedMethod:
        return Adam(self.decay, self.epsilon, self.momentum)


class ZerothOrderSection(Method):
    """`es.ZerothOrder`."""

    kind: Literal["zeroth_order"] = "zeroth_order"

    def steps(self, batches: Sampling) -> Steps:
        return ZerothOrder(batches)


class SharpnessAwareSection(Method):
    """`es.SharpnessAware`."""

    kind: Literal["sharpness_aware"] = "sharpness_aware"
    radius: Positive
    normalised: bool = True

    def steps(self, batches: Sampling) -> Steps:
        return SharpnessAware(batches, self.radius, self.normalised)

    def without_an_edge(self, momentum: float) -> str:
        if self.normalised:
            return "with normalised = true its edge on batches is not known"
        return super().without_an_edge(momentum)


class DropoutSection(Method):
    """`es.Dropout` of the inputs of linear regression and diagonal networks."""

    kind: Literal["dropout"] = "dropout"
    rate: Annotated[Positive, Field(lt=1)]

    def steps(self, batches: Sampling) -> Steps:
        return Dropout(batches, self.rate)


class NoiseSection(Method):
    """`es.IsotropicNoise` or `es.DiagonalNoise` of the full gradient, in the place of batches."""

    kind: Literal["isotropic_noise", "diagonal_noise"]

    def steps(self, batches: Sampling) -> Steps:
        return (IsotropicNoise if self.kind == "isotropic_noise" else DiagonalNoise)(batches.batch_size)

    def without_an_edge(self, momentum: float) -> str:
        return ""


MethodSection = Annotated[
    RMSPropSection | AdamSection | ZerothOrderSection | SharpnessAwareSection | DropoutSection | NoiseSection,
    Field(discriminator="kind"),
    of_kind(RMSPropSection, AdamSection, ZerothOrderSection, SharpnessAwareSection, DropoutSection, NoiseSection),
]


def why_not(method: Method, scheme: str, momentum: float, step_size_unit: str) -> tuple[tuple[str, ...], str] | None:
    """The key that cannot stand beside a method, and why; None where all can."""
    kind = method.kind
    if isinstance(method, NoiseSection) and scheme != "without_replacement":
        return ("sampling", "scheme"), f"must be 'without_replacement' for {kind!r}, got {scheme!r}"
    if scheme not in BATCHES:
        return ("sampling", "scheme"), f"must draw batches for {kind!r}, got {scheme!r}"
    if method.adaptive is not None and momentum > 0:
        return ("dynamics", "momentum"), f"must be 0 for {kind!r}, got {momentum:g}; 'adam' has one of its own"
    if step_size_unit != "absolute" and (words := method.without_an_edge(momentum)):
        return ("dynamics", "step_size", "unit"), f"must be 'absolute' for {kind!r}: {words}"
    return None


def why_not_recorded(name: str, method: Method | None, scheme: str, momentum: float) -> str:
    """Why a statistic of the method cannot be recorded; empty where it can, and for those of SGD."""
    heavy_ball = method is None and momentum > 0 and scheme in BATCHES
    is_adaptive = method is not None and method.adaptive is not None
    if name.startswith(PRECONDITIONED) and not is_adaptive:
        return f"{name!r} needs an adaptive method, such as kind = 'adam' in the section 'method'"
    if name == MOMENTUM_BATCH and not heavy_ball:
        return f"{name!r} needs batches, dynamics.momentum above 0, and no section 'method'"
    if name != OWN or heavy_ball:
        return ""
    if method is None or isinstance(method, NoiseSection):
        return f"{name!r} needs dynamics.momentum above 0, or a section 'method' other than noise"
    if scheme == "reshuffled":
        return f"{name!r} needs independent batches, got 'reshuffled'"
    # An adaptive method has an edge from its first step on.
    words = "" if is_adaptive else method.without_an_edge(momentum)
    return f"{name!r}: {words}" if words else ""
