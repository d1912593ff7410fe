"""Our problems without their compiled loops: a subclass may have changed anything, so that it takes the plain one."""

from __future__ import annotations

from typing import Any

import pytest

import esssim as es


class Regression(es.LinearRegression):
    """As the other one, but not compiled."""


class Network(es.DiagonalLinearNetwork):
    """As the other one, but not compiled."""


# The compiled loop, the plain one, and what both are given.
KINDS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "regression": (es.LinearRegression, Regression, {}),
    "product": (es.DiagonalLinearNetwork, Network, {}),
    "depth 3": (es.DiagonalLinearNetwork, Network, {"form": "difference", "depth": 3}),
}
both_loops = pytest.mark.parametrize(("compiled", "plain", "form"), KINDS.values(), ids=KINDS)
