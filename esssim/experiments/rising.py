"""A step size that rises past the first edge of a method."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.experiments.base import Configuration, run_once
from esssim.experiments.beside import Task
from esssim.experiments.errors import ConfigurationError
from esssim.experiments.experiment import BELOW_THE_LAST_EDGE, FOLLOWED, flattest
from esssim.problems import DiagonalLinearNetwork
from esssim.simulation import Ramp

FROM, TO, N_RECORDS = 0.8, 2.5, 10


class Rising(Configuration):
    """A run on such a step size, recorded where it is past 1.15 critical ones of the start."""

    @property
    @abstractmethod
    def _schedule(self) -> tuple[Ramp, IntArray]:
        """The step size, and the steps of the records."""

    @property
    def after(self) -> float:
        return float(self._schedule[1][0])

    @property
    def tasks(self) -> list[Task]:
        return [(run_once, self)]


def rising(
    network: DiagonalLinearNetwork, theta0: FloatArray, critical: Callable[[FloatArray], float], n_steps: int, key: str
) -> tuple[Ramp, IntArray]:
    """η from 0.8 to 2.5 critical step sizes of the start, at most 90 % of that of the flattest solution; and ten steps
    at which it is past 1.15 of them. key: what decides how far apart the two critical step sizes are.

    Raises ConfigurationError where 90 % of the last critical step size is less than 1.15 of the first.
    """
    first, last = critical(theta0), critical(flattest(network, theta0))
    to = min(TO, BELOW_THE_LAST_EDGE * last / first)
    if to <= FOLLOWED:
        words = (
            f"leaves no room for the step size to rise: the critical step size of the flattest solution must be above "
            f"{FOLLOWED / BELOW_THE_LAST_EDGE:.2f} times that of the start, got {last / first:.2f} times"
        )
        raise ConfigurationError((key,), words)
    after = n_steps * (FOLLOWED - FROM) / (to - FROM)
    return Ramp(FROM * first, to * first), np.unique(np.linspace(after, n_steps, N_RECORDS).round()).astype(int)
