"""
A sweep on a cluster with Slurm
===============================

dask-jobqueue asks Slurm for workers, esssim sends them the cells. ::

    pip install "esssim[sweep]" dask-jobqueue
    python examples/slurm_sweep.py examples/sweep.toml --jobs 20 --queue short

--local tries the same on this machine, where there is no Slurm.
"""

# sphinx_gallery_thumbnail_path = "../figures/output/settling_map.png"
from __future__ import annotations

import argparse
from pathlib import Path

from dask_jobqueue import SLURMCluster
from dask_jobqueue.local import LocalCluster
from distributed import Client

from esssim.experiments.sweeps import from_toml, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("config", type=Path)
    parser.add_argument("--jobs", type=int, default=2, help="jobs of one core each")
    parser.add_argument("--queue", help="the partition of Slurm")
    parser.add_argument("--walltime", default="02:00:00")
    parser.add_argument("--local", action="store_true", help="processes here in place of jobs")
    given = parser.parse_args()
    # One core and one thread for a worker: the numbers are the same with more, and no faster.
    options = {"cores": 1, "processes": 1, "memory": "4GB"}
    if given.local:
        cluster = LocalCluster(**options, scheduler_options={"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"})
    else:
        cluster = SLURMCluster(**options, queue=given.queue, walltime=given.walltime)
    with cluster, Client(cluster):
        cluster.scale(jobs=given.jobs)
        folder = given.config.with_suffix(".sweep")
        outcome = run(from_toml(given.config), folder, scheduler=cluster.scheduler_address, progress=True)
        print(f"{outcome.done} cells are done, {outcome.failed} failed: {folder}")


if __name__ == "__main__":
    main()
