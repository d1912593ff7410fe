"""What every experiment is: a frozen configuration that reads and writes TOML, has one fingerprint, and runs."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, Self, cast

import xarray

from esssim import _validate
from esssim._progress import Progress
from esssim.experiments import toml
from esssim.experiments.beside import Once, Task
from esssim.experiments.errors import ConfigurationError
from esssim.settling import Level, level
from esssim.statistics.table import MOMENTUM_BATCH, OWN, PRECONDITIONED, STATISTICS

# Their size next to 2/η says nothing.
WITHOUT_AN_EDGE = ("loss", "gradient_norm", *(name for name in STATISTICS if "eigenvalue_" in name))
# What a TOML file names by its key "kind"; without one it is an `Experiment`, in sections.
KINDS: dict[str, type[Configuration]] = {}


def with_an_edge(names: Iterable[str]) -> list[str]:
    """Those that can be compared with 2/η, in the order of the table; what only an adaptive method has comes last."""
    known = (*STATISTICS, OWN, MOMENTUM_BATCH, *(f"{PRECONDITIONED}{name}" for name in STATISTICS))
    held = set(names)
    return [name for name in known if name in held and name.removeprefix(PRECONDITIONED) not in WITHOUT_AN_EDGE]


def levels_of(
    trace: xarray.Dataset, after: float, *, tolerance: float = 0.05, replicas_agree: bool = True
) -> dict[str, Level | str]:
    """Where (η/2)·statistic settles from step `after` on, of each statistic recorded, or why that cannot be said."""
    found: dict[str, Level | str] = {}
    for name in with_an_edge(map(str, trace)):
        try:
            found[name] = level(trace, name, after=after, tolerance=tolerance, replicas_agree=replicas_agree)
        except ValueError as error:
            found[name] = str(error)
    return found


class Configuration:
    """A frozen configuration: equal ones give the same numbers."""

    kind: ClassVar[str]
    # Whether its replicas lead to one solution, so that their levels must agree.
    replicas_agree: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "kind" in vars(cls):
            KINDS[cls.kind] = cls

    @abstractmethod
    def run(self, progress: Progress = False) -> xarray.Dataset:
        """The records of the run: kept on disk where ESSSIM_CACHE names a folder."""

    @property
    def tasks(self) -> Sequence[Task]:
        """What claims about this experiment compute once a process, and can have computed ahead."""
        return ()

    @property
    @abstractmethod
    def after(self) -> float:
        """The step from which on levels are averaged."""

    def results(self, trace: xarray.Dataset, progress: Progress = False) -> Mapping[str, tuple[float, float, float]]:
        """What a run gives beside levels, by name: a value and the ends of its 95 % interval."""
        return {}

    def levels(self, trace: xarray.Dataset, *, tolerance: float = 0.05) -> dict[str, Level | str]:
        """Where (η/2)·statistic settles, of each statistic recorded in a run, or why that cannot be said."""
        return levels_of(trace, self.after, tolerance=tolerance, replicas_agree=self.replicas_agree)

    def plain(self) -> dict[str, Any]:
        """Every key and its value, as in TOML."""
        return {"kind": self.kind, **asdict(cast(Any, self))}

    def to_toml(self) -> str:
        """TOML that gives this configuration again: every key is written, defaults included."""
        return toml.written(self.plain())

    @property
    def fingerprint(self) -> str:
        """SHA-256 of every key and its value; another configuration has another one."""
        text = json.dumps(self.plain(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    @classmethod
    def from_toml(cls, path_or_text: str | os.PathLike[str], changes: Sequence[str] = ()) -> Self:
        """The configuration of a TOML file, or of TOML itself.

        changes: keys set on top of it, "dynamics.step_size=0.1" each. Raises `ConfigurationError`, a ValueError, with
        the file and the line of a key that is unknown, missing, of a wrong type, or impossible beside the others.
        """
        found = from_toml(path_or_text, changes)
        if not isinstance(found, cls):
            raise ValueError(f"configuration must be of kind {cls.kind!r}, got {found.kind!r}")
        return found

    @classmethod
    def from_source(cls, source: toml.Source) -> Self:
        """The configuration of what was read."""
        return cls(**source.given)


def from_toml(path_or_text: str | os.PathLike[str], changes: Sequence[str] = ()) -> Configuration:
    """The experiment of a TOML file, of whatever kind: see `Configuration.from_toml`."""
    source = toml.read(path_or_text, changes)
    given: Mapping[str, Any] = source.given
    try:
        name = given.get("kind", "experiment")
        try:
            kind = KINDS[_validate.choice("kind", name, tuple(KINDS))]
        except ValueError as error:
            raise ConfigurationError(("kind",), str(error).removeprefix("kind ")) from None
        source.given.pop("kind", None)
        if "grid" in source.given:
            raise ConfigurationError(("grid",), "is for a sweep of many runs: `esssim sweep` takes this file")
        return kind.from_source(source)
    except ConfigurationError as error:
        raise source.error(error) from None


@Once[Configuration, xarray.Dataset]
def run_once(experiment: Configuration) -> xarray.Dataset:
    """The run of an experiment; computed once a process, and kept on disk where ESSSIM_CACHE names a folder."""
    return experiment.run()
