"""The checks of `esssim doctor`: how they are registered, judged and run."""

from __future__ import annotations

import math

import pytest

import esssim.doctor.check as protocol
from esssim.doctor.check import Finding, Unavailable, at_least, at_most, between, check, exactly, heard_by, steps
from esssim.doctor.run import run


@pytest.fixture
def registry(monkeypatch):
    """An empty registry in place of the real one."""
    entries = {}
    monkeypatch.setattr(protocol, "REGISTRY", entries)
    monkeypatch.setattr("esssim.doctor.run.REGISTRY", entries)
    monkeypatch.setattr("esssim.doctor.run.MODULES", ())
    return entries


@pytest.mark.parametrize(
    ("value", "wanted", "passed"),
    [
        (1.0, at_most(1.0), True),
        (1.1, at_most(1.0), False),
        (1.0, at_least(1.0), True),
        (0.9, at_least(1.0), False),
        (0.0, exactly(0), True),
        (1.0, exactly(0), False),
        (0.95, between(0.933, 0.966), True),
        (0.97, between(0.933, 0.966), False),
        (math.nan, between(-math.inf, math.inf), False),
    ],
)
def test_a_check_passes_where_every_figure_lies_in_its_range(value, wanted, passed):
    assert Finding({"x": value, "other": 7.0}, {"x": wanted}).passed is passed


def test_a_range_of_an_unknown_figure_is_refused():
    with pytest.raises(ValueError, match="wanted must name figures that were measured, got \\['y'\\]"):
        Finding({"x": 1.0}, {"y": exactly(1)})


def test_one_that_raises_or_is_not_available_does_not_stop_the_others(registry):
    @check(key="a", title="raises")
    def raises(quick):
        raise ValueError("broken on purpose")

    @check(key="b", title="not here")
    def absent(quick):
        raise Unavailable("no checkout")

    @check(key="c", title="measures")
    def measures(quick):
        return Finding({"size": 1.0 if quick else 2.0}, {"size": exactly(1)}, note="a note")

    found = {each.key: each for each in run(quick=True)}
    assert (found["a"].passed, found["a"].error) == (False, "broken on purpose")
    assert (found["b"].passed, found["b"].note) == (None, "no checkout")
    assert (found["c"].passed, found["c"].note) == (True, "a note")
    assert run(["c"])[0].passed is False
    with pytest.raises(ValueError, match="key must be one of a, b, c, got 'z'"):
        run(["z"])


def test_a_key_is_taken_once(registry):
    def other(quick):
        return Finding({}, {})

    check(key="a", title="one")(lambda quick: Finding({}, {}))
    other.__module__ = "elsewhere"
    with pytest.raises(ValueError, match="key must be new, 'a' is 'one'"):
        check(key="a", title="two")(other)


def test_steps_are_reported_to_the_listener():
    heard = []
    with heard_by(lambda done, total: heard.append((done, total))):
        assert list(steps(range(3))) == [0, 1, 2]
        assert list(steps(iter("ab"), total=5)) == ["a", "b"]
    list(steps([1]))
    assert heard == [(1, 3), (2, 3), (3, 3), (1, 5), (2, 5)]
