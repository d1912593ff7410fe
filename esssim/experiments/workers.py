"""Where the cells of a sweep are computed: in this process, in processes of joblib, or on a cluster of dask."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from importlib import import_module
from typing import Any, Protocol

import joblib
import numpy as np

from esssim import _source
from esssim._validate import IntArray
from esssim.experiments.cells import environment, lost, run_cells
from esssim.experiments.plan import Plan
from esssim.simulation.ensemble import workers_without_interrupts

# A cell is given up as failed once it has taken its process down so often, the last times alone.
ATTEMPTS = 3
DIED = "the process that computed it ended without a word: killed, out of memory, or a crash in compiled code"
# Groups that are waiting at each worker of a cluster.
AHEAD = 3

# Rows, the digest of the code that made them, and where they were made.
Result = tuple[Any, str, dict[str, Any]]
Groups = Iterator[IntArray]


class Pool(Protocol):
    """run: the results of groups of cells, in any order."""

    n_workers: int

    def run(self, plan: Plan, groups: Groups) -> Generator[Result]: ...


class Here:
    """One after the other in this process."""

    n_workers = 1

    def run(self, plan: Plan, groups: Groups) -> Generator[Result]:
        for group in groups:
            yield run_cells(plan, group)


class Processes:
    """Processes of joblib on this machine."""

    def __init__(self, n_workers: int) -> None:
        self.n_workers = n_workers

    def run(self, plan: Plan, groups: Groups) -> Generator[Result]:
        again = yield from self._until_a_process_dies(plan, groups)
        while again is not None:
            # Whichever group it was: its cells one by one, and then what had not begun.
            yield from self._one_by_one(plan, again)
            again = yield from self._until_a_process_dies(plan, groups)

    def _until_a_process_dies(self, plan: Plan, groups: Groups) -> Generator[Result, None, list[int] | None]:
        """The cells that were under way when one did, None if all groups are done."""
        under_way: dict[int, IntArray] = {}

        def jobs() -> Iterator[Any]:
            for group in groups:
                under_way[int(group[0])] = group
                yield joblib.delayed(run_cells)(plan, group)

        try:
            with workers_without_interrupts():
                results = joblib.Parallel(n_jobs=self.n_workers, return_as="generator_unordered", batch_size=1)(jobs())
            for result in results:
                under_way.pop(int(result[0].index[0]))
                yield result
        except _died():
            return [int(index) for group in under_way.values() for index in group]
        return None

    def _one_by_one(self, plan: Plan, indices: list[int]) -> Iterator[Result]:
        for index in indices:
            for _ in range(ATTEMPTS):
                job = joblib.delayed(run_cells)(plan, _group(index))
                try:
                    # Two processes, or joblib would take this one.
                    with workers_without_interrupts():
                        (result,) = joblib.Parallel(n_jobs=max(2, self.n_workers))([job])
                    yield result
                    break
                except _died():
                    continue
            else:
                yield _lost(plan, index)


class Cluster:
    """The workers of a scheduler of dask, at an address that the user gave."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.n_workers = max(1, sum(client.nthreads().values()))

    def run(self, plan: Plan, groups: Groups) -> Generator[Result]:
        distributed: Any = import_module("distributed")
        shared = self.client.scatter(plan, broadcast=False, hash=False)
        attempts: dict[int, int] = {}
        waiting = distributed.as_completed(loop=self.client.loop)
        group_of: dict[str, IntArray] = {}

        def submit(group: IntArray) -> None:
            future = self.client.submit(run_cells, shared, group, pure=False)
            group_of[future.key] = group
            waiting.add(future)

        def submit_next() -> None:
            group = next(groups, None)
            if group is not None:
                submit(group)

        try:
            for _ in range(AHEAD * self.n_workers):
                submit_next()
            for future in waiting:
                group = group_of.pop(future.key)
                try:
                    result = future.result()
                except distributed.KilledWorker:
                    for index in group.tolist():
                        attempts[index] = attempts.get(index, 0) + 1
                        if len(group) > 1 or attempts[index] < ATTEMPTS:
                            submit(_group(index))
                        else:
                            yield _lost(plan, index)
                    continue
                future.release()
                submit_next()
                yield result
        finally:
            with contextlib.suppress(Exception):
                self.client.cancel(list(waiting.futures))


def _group(index: int) -> IntArray:
    return np.array([index], dtype=np.int64)


def _lost(plan: Plan, index: int) -> Result:
    return lost(plan, index, DIED), _source.digest(), environment()


def _died() -> type[BaseException]:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    return TerminatedWorkerError


@contextlib.contextmanager
def pool(n_workers: int | None, scheduler: str | None, cluster: str | None) -> Iterator[Pool]:
    """The workers that the arguments name. Raises ValueError where dask is not installed or does not answer."""
    if scheduler is None and cluster is None:
        workers = n_workers or joblib.cpu_count()
        yield Processes(workers) if workers > 1 else Here()
        return
    client = _client(scheduler, cluster)
    try:
        yield Cluster(client)
    finally:
        with contextlib.suppress(Exception):
            own = client.cluster if cluster else None
            client.close()
            if own is not None:
                own.close()


def _client(scheduler: str | None, cluster: str | None) -> Any:
    try:
        distributed: Any = import_module("distributed")
    except ImportError as error:
        raise ValueError(
            f'a cluster of dask needs the extra esssim[sweep]: pip install "esssim[sweep]" ({error})'
        ) from None
    if scheduler is not None:
        try:
            return distributed.Client(scheduler, timeout="10s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(
                f"scheduler must be the address of a scheduler of dask, got {scheduler!r}: {error}"
            ) from None
    kind, _, count = (cluster or "").partition(":")
    if kind != "local" or not count.isdecimal() or int(count) < 1:
        raise ValueError(f"cluster must be local:N with N workers, got {cluster!r}; for others give their scheduler")
    # Nothing listens beyond this machine.
    local = distributed.LocalCluster(
        n_workers=int(count), threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", processes=True
    )
    return distributed.Client(local, set_as_default=False)
