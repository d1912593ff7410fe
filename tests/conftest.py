"""Hypothesis profiles: the same examples on every run, or fresh ones with HYPOTHESIS_PROFILE=explore."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The first example of a test may compile a kernel, so that no single one has a time limit.
slow = (HealthCheck.too_slow,)
settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, max_examples=40, suppress_health_check=slow
)
settings.register_profile("explore", deadline=None, max_examples=400, suppress_health_check=slow)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
