"""Sampling schemes: draws replayed in plain Python, laws counted, moment coefficients exact in rational arithmetic."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats

import esssim as es
from esssim._kernels import sampling as kernels
from tests import oracles

SCHEMES = (es.WithoutReplacement, es.WithReplacement, es.Reshuffled)


def replay(sampling: es.Sampling, n: int, n_batches: int, rng: np.random.Generator) -> list[list[int]]:
    """The same draws with nothing but rng.random(): the k-th of m choices is ⌊m·u⌋."""
    b, drawn = sampling.batch_size, []
    if isinstance(sampling, es.WithReplacement):
        return [[int(rng.random() * n) for _ in range(b)] for _ in range(n_batches)]
    if isinstance(sampling, es.Reshuffled):
        order = list(range(n))
        while len(drawn) < n_batches:
            for i in range(n):
                j = i + int(rng.random() * (n - i))
                order[i], order[j] = order[j], order[i]
            drawn += [order[start : start + b] for start in range(0, n - b + 1, b)]
        return drawn[:n_batches]
    for _ in range(n_batches):
        order = list(range(n))
        for i in range(b):
            j = i + int(rng.random() * (n - i))
            order[i], order[j] = order[j], order[i]
        drawn.append(order[:b])
    return drawn


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n", "b"), [(1, 1), (2, 1), (2, 2), (7, 1), (7, 3), (7, 7), (50, 8)])
class TestDraws:
    def test_replayed_in_plain_python(self, scheme: type[es.Sampling], n: int, b: int) -> None:
        sampling = scheme(b)
        drawn = sampling.draw(n, 23, np.random.default_rng(5))
        assert drawn.dtype == np.int64
        assert drawn.shape == (23, b)
        assert drawn.tolist() == replay(sampling, n, 23, np.random.default_rng(5))

    def test_in_range_and_distinct_without_replacement(self, scheme: type[es.Sampling], n: int, b: int) -> None:
        drawn = scheme(b).draw(n, 200, np.random.default_rng(0))
        assert drawn.min() >= 0
        assert drawn.max() <= n - 1
        if scheme is not es.WithReplacement:
            assert all(len(set(batch)) == b for batch in drawn.tolist())

    def test_several_calls_draw_what_one_call_draws(self, scheme: type[es.Sampling], n: int, b: int) -> None:
        sampling, rng = scheme(b), np.random.default_rng(5)
        whole = sampling.draw(n, 12, np.random.default_rng(5))
        sizes = (1, 0, 4, 7)
        if scheme is es.Reshuffled:
            # A call begins an epoch: the next one shuffles afresh, from the identity, as the first did.
            first, second = sampling.draw(n, n // b, rng), sampling.draw(n, n // b, rng)
            replayed = np.random.default_rng(5)
            assert [*first.tolist(), *second.tolist()] == [
                *replay(sampling, n, n // b, replayed), *replay(sampling, n, n // b, replayed),
            ]  # fmt: skip
            return
        np.testing.assert_array_equal(np.concatenate([sampling.draw(n, size, rng) for size in sizes]), whole)

    def test_no_batches(self, scheme: type[es.Sampling], n: int, b: int) -> None:
        assert scheme(b).draw(n, 0, np.random.default_rng(0)).shape == (0, b)


CODES = {
    es.WithoutReplacement: kernels.WITHOUT_REPLACEMENT,
    es.WithReplacement: kernels.WITH_REPLACEMENT,
    es.Reshuffled: kernels.RESHUFFLED,
}


def numbers_of_step(scheme: type[es.Sampling], n: int, b: int, step: int) -> int:
    if scheme is es.Reshuffled:
        return n if step % (n // b) == 0 else 0
    return 0 if scheme is es.WithoutReplacement and b == n else b


def replayed_run(
    scheme: type[es.Sampling], n: int, b: int, n_steps: int, n_normals: int, rng: np.random.Generator
) -> tuple[list[list[int]], list[list[float]]]:
    """Batches and normal numbers of a run's steps, one step at a time; the permutation is never put back."""
    order, batches, normals = list(range(n)), [], []
    for step in range(n_steps):
        uniforms = [rng.random() for _ in range(numbers_of_step(scheme, n, b, step))]
        normals.append([rng.standard_normal() for _ in range(n_normals)])
        if scheme is es.WithReplacement:
            batches.append([int(u * n) for u in uniforms])
            continue
        for i, u in enumerate(uniforms):
            j = i + int(u * (n - i))
            order[i], order[j] = order[j], order[i]
        start = step % (n // b) * b if scheme is es.Reshuffled else 0
        batches.append(order[start : start + b])
    return batches, normals


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n", "b"), [(1, 1), (2, 2), (7, 1), (7, 3), (7, 7)])
@pytest.mark.parametrize("n_normals", [0, 2])
class TestStepsOfARun:
    stretches = (0, 1, 4, 5, 12, 20)

    def test_each_takes_as_many_numbers_as_its_batch_needs(
        self, scheme: type[es.Sampling], n: int, b: int, n_normals: int
    ) -> None:
        for first, last in itertools.pairwise(self.stretches):
            counts = kernels.counts_of_numbers(CODES[scheme], n, b, first, last)
            assert counts.tolist() == [numbers_of_step(scheme, n, b, step) for step in range(first, last)]

    def test_replayed_in_plain_python(self, scheme: type[es.Sampling], n: int, b: int, n_normals: int) -> None:
        rng, order = np.random.default_rng(8), np.arange(n)
        found_batches, found_normals = [], []
        for first, last in itertools.pairwise(self.stretches):
            counts = kernels.counts_of_numbers(CODES[scheme], n, b, first, last)
            uniforms, normals = np.full(counts.sum(), np.nan), np.full((last - first, n_normals), np.nan)
            kernels.draw_numbers(rng, counts, uniforms, normals)
            batches = np.full((last - first, b), -1)
            kernels.consecutive_batches(uniforms, counts, CODES[scheme], order, first, batches)
            found_batches += batches.tolist()
            found_normals += normals.tolist()
        again = np.random.default_rng(8)
        batches, normals = replayed_run(scheme, n, b, self.stretches[-1], n_normals, again)
        assert (found_batches, found_normals) == (batches, normals)
        assert rng.random() == again.random(), "the stream stands elsewhere"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n", "b"), [(5, 1), (5, 2), (4, 3), (6, 3)])
def test_every_batch_is_as_likely_as_it_should_be(scheme: type[es.Sampling], n: int, b: int) -> None:
    """Chi-square over all batches, from single draws so that the batches of a reshuffled epoch are independent too."""
    rng = np.random.default_rng(11)
    draws = 20_000
    if scheme is es.Reshuffled:
        drawn = np.concatenate([scheme(b).draw(n, 1, rng) for _ in range(draws)])
    else:
        drawn = scheme(b).draw(n, draws, rng)
    seen = Counter(map(tuple, np.sort(drawn, axis=1).tolist()))
    law = oracles.law_of_batches(n, scheme(b))
    assert set(seen) == set(law)
    expected = [draws * float(probability) for probability in law.values()]
    assert scipy.stats.chisquare([seen[batch] for batch in law], expected).pvalue > 1e-3
    # Within a batch every position is uniform too: the batch is in random order.
    for position in range(b):
        counts = np.bincount(drawn[:, position], minlength=n)
        assert scipy.stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("n", "b"), [(6, 2), (7, 3), (5, 5), (9, 4)])
def test_reshuffled_epochs_partition_the_samples(n: int, b: int) -> None:
    per_epoch = n // b
    drawn = es.Reshuffled(b).draw(n, 40 * per_epoch, np.random.default_rng(3))
    left_out = set()
    for epoch in drawn.reshape(40, per_epoch * b).tolist():
        assert len(set(epoch)) == per_epoch * b
        left_out |= set(range(n)) - set(epoch)
    # The n mod b samples that sit an epoch out are not always the same.
    assert left_out == (set(range(n)) if n % b else set())
    # Epochs differ, and every batch in its epoch has the law of one batch.
    assert len({tuple(epoch) for epoch in drawn.reshape(40, -1).tolist()}) > 30


def test_every_position_of_a_reshuffled_epoch_is_uniform() -> None:
    drawn = es.Reshuffled(2).draw(5, 2 * 20_000, np.random.default_rng(4)).reshape(-1, 4)
    for position in range(4):
        assert scipy.stats.chisquare(np.bincount(drawn[:, position], minlength=5)).pvalue > 1e-3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n", "b"), [(n, b) for n in range(1, 6) for b in range(1, n + 1)])
class TestEnumeration:
    def test_is_the_law_of_the_ordered_draws(self, scheme: type[es.Sampling], n: int, b: int) -> None:
        sampling = scheme(b)
        law = oracles.law_of_batches(n, sampling)
        chunks = list(sampling.enumerate(n))
        batches = [tuple(batch) for chunk, _ in chunks for batch in chunk.tolist()]
        probabilities = np.concatenate([weights for _, weights in chunks])
        assert len(batches) == len(set(batches)) == len(law) == sampling.count(n)
        for batch, probability in zip(batches, probabilities, strict=True):
            assert probability == pytest.approx(float(law[batch]), rel=1e-13)
        assert math.fsum(probabilities) == pytest.approx(1.0, abs=1e-13)

    @pytest.mark.parametrize("chunk_size", [1, 2, 3, 1000])
    def test_chunks_are_as_large_as_asked(self, scheme: type[es.Sampling], n: int, b: int, chunk_size: int) -> None:
        sampling = scheme(b)
        chunks = list(sampling.enumerate(n, chunk_size))
        count = sampling.count(n)
        assert [len(weights) for _, weights in chunks[:-1]] == [chunk_size] * (len(chunks) - 1)
        assert len(chunks) == -(-count // chunk_size)
        assert all(chunk.shape == (len(weights), b) and chunk.dtype == np.int64 for chunk, weights in chunks)
        whole = next(iter(sampling.enumerate(n)))
        np.testing.assert_array_equal(np.concatenate([chunk for chunk, _ in chunks]), whole[0])
        np.testing.assert_array_equal(np.concatenate([weights for _, weights in chunks]), whole[1])


def test_enumeration_is_lazy() -> None:
    """The first chunk of 10¹¹ batches comes at once."""
    chunk, weights = next(es.WithoutReplacement(8).enumerate(100))
    assert chunk.shape == (4096, 8)
    assert weights[0] == pytest.approx(1 / 186_087_894_300, rel=1e-14)
    chunk, weights = next(es.WithReplacement(8).enumerate(100))
    # All indices equal, one of 100⁸ ordered draws; then seven equal and one other, eight of them.
    assert chunk[:2].tolist() == [[0] * 8, [0] * 7 + [1]]
    np.testing.assert_allclose(weights[:2], [1e-16, 8e-16], rtol=1e-12)


@pytest.mark.parametrize(
    ("sampling", "n", "count"),
    [
        (es.WithoutReplacement(8), 100, 186_087_894_300),
        (es.WithoutReplacement(3), 10, 120),
        (es.WithoutReplacement(10), 10, 1),
        (es.WithReplacement(3), 10, 220),
        (es.WithReplacement(12), 2, 13),
        (es.WithReplacement(1), 10, 10),
        (es.Reshuffled(3), 10, 120),
    ],
)
def test_count(sampling: es.Sampling, n: int, count: int) -> None:
    assert sampling.count(n) == count


def central_moments(values: list[Fraction], weights: list[Fraction]) -> tuple[Fraction, Fraction]:
    mean = sum(w * v for v, w in zip(values, weights, strict=True))
    return tuple(sum(w * (v - mean) ** k for v, w in zip(values, weights, strict=True)) for k in (2, 3))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n", "b"), [(n, b) for n in range(1, 7) for b in range(1, min(n, 5) + 1)])
def test_moment_coefficients_in_rational_arithmetic(scheme: type[es.Sampling], n: int, b: int) -> None:
    """Var of a batch mean = c·Var of a sample, third central moment = c₃·that of a sample: exactly, for skewed values."""
    sampling = scheme(b)
    values = [Fraction(i**3 + 2, 7) for i in range(n)]
    second, third = central_moments(values, [Fraction(1, n)] * n)
    law = oracles.law_of_batches(n, sampling)
    means = [sum(values[i] for i in batch) / b for batch in law]
    batch_second, batch_third = central_moments(means, list(law.values()))
    if n > 1:
        assert sampling.variance_coefficient(n) == pytest.approx(float(batch_second / second), rel=1e-14, abs=1e-300)
    else:
        assert batch_second == 0
        assert sampling.variance_coefficient(n) == (1 / b if scheme is es.WithReplacement else 0.0)
    if third != 0:
        assert sampling.third_moment_coefficient(n) == pytest.approx(float(batch_third / third), rel=1e-14, abs=1e-300)
    else:
        assert n <= 2
        assert batch_third == 0
        assert sampling.third_moment_coefficient(n) == (1 / b**2 if scheme is es.WithReplacement else 0.0)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("n", "b"), [(2, 1), (4, 2), (5, 3), (5, 5)])
def test_moment_identities_of_matrices(scheme: type[es.Sampling], n: int, b: int) -> None:
    """E[A_B⊗A_B] = (1−c)Ā⊗Ā + c·mean Aᵢ⊗Aᵢ and the third central moment as a tensor, through the package's enumeration."""
    sampling = scheme(b)
    matrices = np.random.default_rng(0).standard_normal((n, 3, 2))
    mean, flat = matrices.mean(axis=0), matrices.reshape(n, 6)
    second = np.zeros((9, 4))
    third = np.zeros((6, 6, 6))
    for batches, weights in sampling.enumerate(n, 7):
        for batch, weight in zip(batches, weights, strict=True):
            second += weight * np.kron(matrices[batch].mean(axis=0), matrices[batch].mean(axis=0))
            centred = flat[batch].mean(axis=0) - mean.ravel()
            third += weight * np.einsum("i,j,k->ijk", centred, centred, centred)
    c, c3 = sampling.variance_coefficient(n), sampling.third_moment_coefficient(n)
    expected = (1 - c) * np.kron(mean, mean) + c * np.mean([np.kron(a, a) for a in matrices], axis=0)
    np.testing.assert_allclose(second, expected, atol=1e-14)
    centred = flat - mean.ravel()
    np.testing.assert_allclose(third, c3 * np.einsum("ni,nj,nk->ijk", centred, centred, centred) / n, atol=1e-14)


def test_full_batch_has_no_noise() -> None:
    for n, scheme in itertools.product((1, 2, 3, 50), (es.WithoutReplacement, es.Reshuffled)):
        assert scheme(n).variance_coefficient(n) == 0.0
        assert scheme(n).third_moment_coefficient(n) == 0.0


def test_schemes_are_values() -> None:
    assert es.WithoutReplacement(3) == es.WithoutReplacement(3)
    assert es.WithoutReplacement(3) != es.WithoutReplacement(4)
    assert es.WithoutReplacement(3) != es.WithReplacement(3)
    assert es.WithoutReplacement(np.int64(3)).batch_size == 3
    with pytest.raises(AttributeError):
        es.WithoutReplacement(3).batch_size = 4


def test_compiled_loops_tell_the_schemes_apart() -> None:
    assert len({kernels.WITHOUT_REPLACEMENT, kernels.WITH_REPLACEMENT, kernels.RESHUFFLED}) == 3


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("bad", [0, -1, 2.5, "3", None, True, np.nan])
def test_bad_batch_size(scheme: type[es.Sampling], bad: object) -> None:
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1, got"):
        scheme(bad)


@pytest.mark.parametrize("scheme", [es.WithoutReplacement, es.Reshuffled])
def test_batches_larger_than_the_data(scheme: type[es.Sampling]) -> None:
    sampling, rng = scheme(64), np.random.default_rng(0)
    for call in (
        lambda: sampling.check(50), lambda: sampling.count(50), lambda: sampling.variance_coefficient(50),
        lambda: sampling.third_moment_coefficient(50), lambda: next(sampling.enumerate(50)), lambda: sampling.draw(50, 1, rng),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="batch_size must be between 1 and n_samples = 50, got 64"):
            call()
    sampling.check(64)


def test_with_replacement_may_draw_more_than_there_are() -> None:
    sampling = es.WithReplacement(5)
    sampling.check(2)
    sampling.check(1)
    with pytest.raises(ValueError, match="n_samples must be an integer of at least 1, got 0"):
        sampling.check(0)
    assert sampling.draw(2, 3, np.random.default_rng(0)).shape == (3, 5)
    assert sum(weights.sum() for _, weights in sampling.enumerate(2)) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bad_counts(scheme: type[es.Sampling]) -> None:
    with pytest.raises(ValueError, match="n_batches must be an integer of at least 0, got -1"):
        scheme(2).draw(5, -1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="chunk_size must be an integer of at least 1, got 0"):
        next(scheme(2).enumerate(5, 0))
