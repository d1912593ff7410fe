"""The sections of a configuration and their keys: what is trained, on what, from where, how, and what is recorded."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from esssim import _validate
from esssim.experiments.errors import refused, unknown
from esssim.statistics.table import MOMENTUM_BATCH, OWN, PRECONDITIONED, STATISTICS

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def _plain(value: Any) -> Any:
    """A number of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value


Count = Annotated[int, BeforeValidator(_plain), Field(ge=1)]
Natural = Annotated[int, BeforeValidator(_plain), Field(ge=0)]
Seed = Natural
Positive = Annotated[float, BeforeValidator(_plain), Field(gt=0)]
NotNegative = Annotated[float, BeforeValidator(_plain), Field(ge=0)]
Momentum = Annotated[float, BeforeValidator(_plain), Field(ge=0, lt=1)]
Widths = Annotated[tuple[Count, ...], Field(strict=False, min_length=1)]


class Section(BaseModel):
    """A frozen table of keys; an unknown one is refused with the nearest."""

    model_config = STRICT | ConfigDict(frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, given: Any) -> Any:
        if isinstance(given, dict):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in given:
                if key not in known:
                    raise refused((key,), unknown(str(key), known))
        return given


def of_kind(*sections: type[Section]) -> BeforeValidator:
    """A table whose key "kind" says which of the sections it is."""
    kinds = [kind for section in sections for kind in get_args(section.model_fields["kind"].annotation)]

    def check(given: Any) -> Any:
        if isinstance(given, dict):
            if "kind" not in given:
                raise refused(("kind",), f"is missing; it must be one of {', '.join(map(repr, kinds))}")
            try:
                _validate.choice("kind", given["kind"], tuple(kinds))
            except ValueError as error:
                raise refused(("kind",), str(error).removeprefix("kind ")) from None
        return given

    return BeforeValidator(check)


class LinearRegressionSection(Section):
    """ℓᵢ(θ) = ½(xᵢᵀθ − yᵢ)²."""

    kind: Literal["linear_regression"] = "linear_regression"


class QuadraticSection(Section):
    """ℓᵢ(θ) = ½ Σₖ xᵢₖ²(θₖ − yᵢ)²: `es.Quadratic` with Aᵢ = diag(xᵢ∘xᵢ) and cᵢ = yᵢ·(1, …, 1)."""

    kind: Literal["quadratic"] = "quadratic"


class _Diagonal(Section):
    form: Literal["product", "difference"] = "product"
    depth: Annotated[int, BeforeValidator(_plain), Field(ge=2)] = 2

    @model_validator(mode="after")
    def _depth_has_a_form(self) -> Self:
        if self.form == "product" and self.depth != 2:
            raise refused(("depth",), f"must be 2 in the product form, got {self.depth}; use form = 'difference'")
        return self


class DiagonalSection(_Diagonal):
    """A diagonal linear network: `es.DiagonalLinearNetwork`."""

    kind: Literal["diagonal_linear_network"] = "diagonal_linear_network"


class LogisticSection(_Diagonal):
    """One with cross-entropy, `es.problems.LogisticNetwork`: the class of a sample is whether its target is above their
    mean, its label 1 − smoothing/2 or smoothing/2.
    """

    kind: Literal["logistic_network"] = "logistic_network"
    smoothing: Annotated[float, BeforeValidator(_plain), Field(gt=0, lt=1)] = 0.1


class PerceptronSection(Section):
    """One hidden layer: `es.Perceptron`."""

    kind: Literal["perceptron"] = "perceptron"
    width: Count
    activation: Literal["tanh", "gelu"] = "tanh"


class MlpSection(Section):
    """A torch network of fully connected layers: `es.bridge.mlp` (extra: esssim[bridge])."""

    kind: Literal["mlp"] = "mlp"
    hidden: Widths = (16,)
    activation: Literal["tanh", "gelu", "relu"] = "tanh"


ProblemSection = Annotated[
    LinearRegressionSection | QuadraticSection | DiagonalSection | LogisticSection | PerceptronSection | MlpSection,
    Field(discriminator="kind"),
    of_kind(LinearRegressionSection, QuadraticSection, DiagonalSection, LogisticSection, PerceptronSection, MlpSection),
]

Targets = Literal["own", "interpolating", "zero"]
BUNDLED_SIZES = {"diabetes": 442, "breast_cancer": 569, "wine": 178, "digits": 1797}


class _Drawn(Section):
    n_samples: Count
    n_features: Count
    seed: Seed = 0
    noise: NotNegative = 0.0
    targets: Targets = "own"


class GaussianSection(_Drawn):
    """`es.data.gaussian`."""

    kind: Literal["gaussian"] = "gaussian"


class SpikedSection(_Drawn):
    """`es.data.spiked`."""

    kind: Literal["spiked"] = "spiked"
    spike: NotNegative = 10.0


class OrthogonalSection(_Drawn):
    """`es.data.orthogonal`."""

    kind: Literal["orthogonal"] = "orthogonal"

    @model_validator(mode="after")
    def _rows_fit(self) -> OrthogonalSection:
        if self.n_samples > self.n_features:
            words = f"must be at most n_features = {self.n_features} for orthogonal inputs, got {self.n_samples}"
            raise refused(("n_samples",), words)
        return self


class TwoClustersSection(_Drawn):
    """`es.data.two_clusters`."""

    kind: Literal["two_clusters"] = "two_clusters"
    separation: NotNegative = 4.0


class PowerLawSection(_Drawn):
    """`es.data.power_law`."""

    kind: Literal["power_law"] = "power_law"
    exponent: NotNegative = 1.0


class TableSection(Section):
    """A bundled table: `es.data.load`."""

    kind: Literal["diabetes", "breast_cancer", "wine", "digits"]
    standardize: bool = True
    targets: Targets = "own"

    @property
    def n_samples(self) -> int:
        """n."""
        return BUNDLED_SIZES[self.kind]


class FileSection(Section):
    """A table of one's own: `es.data.read_table`. path: inside the folder of the configuration."""

    kind: Literal["file"] = "file"
    path: str
    target: str
    standardize: bool = True
    targets: Targets = "own"

    @model_validator(mode="after")
    def _is_a_path(self) -> Self:
        if "\0" in self.path:
            raise refused(("path",), f"must be a path without a null character, got {self.path!r}")
        return self


DataSection = Annotated[
    GaussianSection | SpikedSection | OrthogonalSection | TwoClustersSection | PowerLawSection | TableSection
    | FileSection,
    Field(discriminator="kind"),
    of_kind(
        GaussianSection, SpikedSection, OrthogonalSection, TwoClustersSection, PowerLawSection, TableSection,
        FileSection
    ),
]  # fmt: skip


class StartSection(Section):
    """θ at step 0.

    "zeros"; "constant": every parameter is `scale`; "random": weights of the scale's standard deviation (over √fan-in
    in a network); "scale": (α, 0) or (α, β) in the two halves of a diagonal network; "solution": where gradient flow
    leads from "scale" (diagonal networks), "random" (perceptrons) or "zeros" (regression, quadratic).
    """

    kind: Literal["zeros", "constant", "random", "scale", "solution"] = "solution"
    scale: Positive | None = None
    second_scale: NotNegative = 0.0
    seed: Seed = 1

    @property
    def first_scale(self) -> float:
        """α."""
        return 2.0 if self.scale is None else self.scale

    @property
    def size(self) -> float:
        """The scale of random weights, or of equal ones."""
        return 1.0 if self.scale is None else self.scale


Scheme = Literal[
    "without_replacement", "with_replacement", "reshuffled",
    "gaussian_weights", "two_point_weights", "three_point_weights", "full_or_single",
]  # fmt: skip


class SamplingSection(Section):
    """How batches are drawn, or weights that have the mean and covariance of those of batches.

    kurtosis: E z⁴ of "three_point_weights", and of no other scheme.
    """

    scheme: Scheme = "without_replacement"
    batch_size: Count
    kurtosis: Annotated[float, BeforeValidator(_plain), Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _kurtosis_has_a_law(self) -> SamplingSection:
        wanted = self.scheme == "three_point_weights"
        if wanted and self.kurtosis is None:
            raise refused(("kurtosis",), "is missing; 'three_point_weights' needs it, 1 or more")
        if not wanted and self.kurtosis is not None:
            raise refused(("kurtosis",), f"is for 'three_point_weights', got {self.scheme!r}")
        return self


class ScheduleSection(Section):
    """A step size that changes over the run, in absolute numbers or in units of the first edge.

    The first edge is the critical step size of mean-square stability at the start. In its units the last step size is
    capped at 90 % of the edge of the flattest solution, which a diagonal network with n ≥ d has: past it no stable
    solution is left.
    """

    start: Positive = Field(alias="from")
    stop: Positive = Field(alias="to")
    unit: Literal["absolute", "first edge"] = "absolute"
    shape: Literal["linear", "geometric"] = "linear"
    cap: Literal["flattest solution", "none"] = "flattest solution"


def _step_size_tag(value: Any) -> str:
    return "schedule" if isinstance(value, dict | ScheduleSection) else "number"


StepSize = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[ScheduleSection, Tag("schedule")], Discriminator(_step_size_tag)
]


class DynamicsSection(Section):
    """SGD: step size, momentum, label noise, length, replicas, and the seed of all random numbers."""

    step_size: StepSize
    n_steps: Count
    n_replicas: Count = 1
    momentum: Momentum = 0.0
    nesterov: bool = False
    label_noise: NotNegative = 0.0
    seed: Seed = 0

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> DynamicsSection:
        if self.nesterov and self.momentum == 0:
            raise refused(("nesterov",), "must be false without momentum, got true; set momentum too")
        return self


def _steps_tag(value: Any) -> str:
    return "word" if isinstance(value, str) else "list"


Steps = Annotated[
    Annotated[Literal["after"], Tag("word")]
    | Annotated[tuple[Natural, ...], Field(strict=False, min_length=1), Tag("list")],
    Discriminator(_steps_tag),
]


class RecordsSection(Section):
    """What is recorded, how often, and from which step on levels are averaged.

    steps: by default n_records of them over the whole run; "after": n_records of them from the step `after` on; or a
    list of steps.
    after: by default the step at which η passes 1.15 first edges, or half of the run where the step size is absolute.
    """

    statistics: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("loss", "sharpness")
    n_records: Count = 61
    steps: Steps | None = None
    n_batches: Annotated[int, BeforeValidator(_plain), Field(ge=2)] = 64
    after: NotNegative | None = None

    @model_validator(mode="after")
    def _steps_are_records(self) -> Self:
        if isinstance(self.steps, tuple):
            if list(self.steps) != sorted(set(self.steps)):
                raise refused(("steps",), "must increase from one to the next")
            if "n_records" in self.model_fields_set and self.n_records != len(self.steps):
                words = f"must be the number of steps, {len(self.steps)}, got {self.n_records}; leave it out"
                raise refused(("n_records",), words)
            object.__setattr__(self, "n_records", len(self.steps))
        return self

    @model_validator(mode="after")
    def _statistics_are_known(self) -> RecordsSection:
        known = (*STATISTICS, "theta", OWN, MOMENTUM_BATCH, *(f"{PRECONDITIONED}{name}" for name in STATISTICS))
        for place, name in enumerate(self.statistics):
            if name not in known:
                raise refused(("statistics", place), f"{name!r} {unknown(name, known)}")
            if name in self.statistics[:place]:
                raise refused(("statistics", place), f"must differ from the others, got {name!r} twice")
        return self
