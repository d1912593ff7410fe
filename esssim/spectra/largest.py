"""λ_max(H_B) for many batches: the structure of the curvature picks the algorithm, which is registered here."""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from esssim._validate import FloatArray, IntArray
from esssim.curvature import BlockCurvature, Curvature, DenseCurvature, LowRankCurvature, OperatorCurvature
from esssim.curvature.scale import CHUNK_NUMBERS
from esssim.spectra.batched_lanczos import LARGEST_BASIS, lanczos_top_pairs, pilot
from esssim.spectra.dense import stacked_largest_eigenvalues
from esssim.spectra.gram import GramSlices, product_largest_eigenvalues, slice_largest_eigenvalues, slices_pay
from esssim.spectra.secular import SecularRows, secular_largest_eigenvalues

WORTH_A_PILOT = 16
Prepared = GramSlices | SecularRows


def largest_eigenvalues(
    curvature: Curvature | Prepared, batches: IntArray, *, chunk_numbers: int = CHUNK_NUMBERS
) -> FloatArray:
    """λ_max(H_B) for each batch: curvature of n samples, batches (m, b) -> (m,).

    chunk_numbers bounds the memory: at most so many numbers in any one intermediate array (one batch at least).
    For many calls with one curvature, `prepare` it once.
    """
    b = batches.shape[1]
    prepared = prepare(curvature, b, len(batches))
    if b == curvature.n_samples and (np.sort(batches, axis=1) == np.arange(b)).all():
        return np.repeat(_largest_eigenvalues(prepared, batches[:1]), len(batches))
    per_batch = _numbers_per_batch(curvature, b)
    size = max(1, chunk_numbers // per_batch)
    chunks = [_largest_eigenvalues(prepared, batches[i : i + size]) for i in range(0, len(batches), size)]
    return np.concatenate(chunks) if chunks else np.empty(0)


def prepare(curvature: Curvature | Prepared, batch_size: int, n_batches: int) -> Curvature | Prepared:
    """What `largest_eigenvalues` takes in place of the curvature, for n_batches batches over all calls.

    The route is chosen here once, so that the values do not depend on how the batches are cut into calls.
    """
    return _prepared(curvature, batch_size, n_batches)


@singledispatch
def _prepared(curvature: Curvature | Prepared, batch_size: int, n_batches: int) -> Curvature | Prepared:
    return curvature


@singledispatch
def _numbers_per_batch(curvature: Curvature | Prepared, b: int) -> int:
    """How many numbers the algorithm of a curvature holds for each batch of b."""
    return b * max(b, curvature.n_params)


@singledispatch
def _largest_eigenvalues(curvature: Curvature | Prepared, batches: IntArray) -> FloatArray:
    raise TypeError(f"no algorithm for a curvature of type {type(curvature).__name__}")


# --- dense --------------------------------------------------------------------------------------------------------


@_numbers_per_batch.register
def _(curvature: DenseCurvature, b: int) -> int:
    return b * curvature.n_params**2


@_largest_eigenvalues.register
def _(curvature: DenseCurvature, batches: IntArray) -> FloatArray:
    if batches.shape[1] == 1 and len(batches) > curvature.n_samples:
        samples, where = np.unique(batches[:, 0], return_inverse=True)
        return stacked_largest_eigenvalues(curvature.hessians[samples])[where]
    return stacked_largest_eigenvalues(curvature.batch_matrices(batches))


# --- diagonal plus rank one ---------------------------------------------------------------------------------------


@_prepared.register
def _(curvature: LowRankCurvature, batch_size: int, n_batches: int) -> LowRankCurvature | Prepared:
    if curvature.diagonals is not None:
        # The secular equation works on b×b matrices a few times over; a p×p matrix no larger than b is cheaper once.
        dense = batch_size >= curvature.n_params
        return curvature if dense else SecularRows.of(curvature.diagonals, curvature.factors)
    pays = slices_pay(curvature.factors, (n_batches, batch_size))
    return GramSlices.of(curvature.factors) if pays else curvature


@_largest_eigenvalues.register
def _(slices: GramSlices, batches: IntArray) -> FloatArray:
    return slice_largest_eigenvalues(slices, batches)


@_largest_eigenvalues.register
def _(curvature: LowRankCurvature, batches: IntArray) -> FloatArray:
    if curvature.diagonals is None:
        return product_largest_eigenvalues(curvature.factors, batches)
    return stacked_largest_eigenvalues(curvature.batch_matrices(batches))


@_largest_eigenvalues.register
def _(rows: SecularRows, batches: IntArray) -> FloatArray:
    return secular_largest_eigenvalues(rows, batches)


# --- blocks of rows -----------------------------------------------------------------------------------------------


@_numbers_per_batch.register
def _(curvature: BlockCurvature, b: int) -> int:
    rows, p = b * curvature.n_rows, curvature.n_params
    return rows * (p + min(rows, p))


@_largest_eigenvalues.register
def _(curvature: BlockCurvature, batches: IntArray) -> FloatArray:
    rows = curvature.factors[batches].reshape(len(batches), -1, curvature.n_params)
    transposed = rows.transpose(0, 2, 1)
    products = rows @ transposed if rows.shape[1] <= curvature.n_params else transposed @ rows
    return stacked_largest_eigenvalues(products / batches.shape[1])


# --- products -----------------------------------------------------------------------------------------------------


@_prepared.register
def _(curvature: OperatorCurvature, batch_size: int, n_batches: int) -> OperatorCurvature:
    # One more batch, solved roughly, takes a fifth of the steps off all the others.
    return curvature if n_batches < WORTH_A_PILOT or curvature.start is not None else pilot(curvature, batch_size)


@_numbers_per_batch.register
def _(curvature: OperatorCurvature, b: int) -> int:
    return LARGEST_BASIS * curvature.n_params


@_largest_eigenvalues.register
def _(curvature: OperatorCurvature, batches: IntArray) -> FloatArray:
    return lanczos_top_pairs(curvature, batches).values
