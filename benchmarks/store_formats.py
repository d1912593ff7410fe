"""Which format for the results of a sweep: Zarr v3 with crc32c, sharded, by region, and Parquet files named by SHA-256.

python -m benchmarks.store_formats          20 variables of 100,000 cells; a minute
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CELLS, VARIABLES, SHARD, CHUNK = 100_000, 20, 4000, 250
GROUPS = (1, 100, 4000)


def zarr_rows(folder: Path) -> None:
    import xarray
    import zarr
    from zarr.codecs import Crc32cCodec

    path = folder / "store.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=3)
    arrays = [
        group.create_array(
            f"v{k}", shape=(CELLS,), dtype="f8", chunks=(CHUNK,), shards=(SHARD,), fill_value=np.nan,
            compressors=(Crc32cCodec(),), dimension_names=("cell",),
        )
        for k in range(VARIABLES)
    ]  # fmt: skip
    for count in GROUPS:
        started = time.perf_counter()
        for array in arrays:
            array[:count] = np.arange(count) * 1.0
        print(f"Zarr: {count} cells written in {1e3 * (time.perf_counter() - started):.1f} ms")
    for begin in range(0, CELLS, SHARD):
        for array in arrays:
            array[begin : begin + SHARD] = np.arange(SHARD) * 1.0 + begin
    started = time.perf_counter()
    xarray.open_zarr(path, consolidated=False, chunks=None).load()
    print(f"Zarr: everything read in {time.perf_counter() - started:.2f} s")
    first, second, middle = (path / "v0" / "c" / name for name in ("0", "1", "x"))
    first.rename(middle)
    second.rename(first)
    middle.rename(second)
    (path / "v1" / "c" / "2").unlink()
    damaged = xarray.open_zarr(path, consolidated=False, chunks=None)
    print(f"Zarr: two files with each other's names: cell 0 reads {float(damaged.v0[0]):g} in place of 0, no error")
    print(f"Zarr: a file deleted: cell {2 * SHARD} reads {float(damaged.v1[2 * SHARD]):g}, no error")


def parquet_rows(folder: Path) -> None:
    def write(count: int, begin: int) -> Path:
        table = pa.table({f"v{k}": np.arange(count) * 1.0 + begin for k in range(VARIABLES)})
        buffer = pa.BufferOutputStream()
        pq.write_table(table, buffer, compression="none", use_dictionary=False, write_statistics=False)
        content = buffer.getvalue()
        path = folder / f"{hashlib.sha256(content).hexdigest()}.parquet"
        with open(path, "wb") as file:
            file.write(content)
            os.fsync(file.fileno())
        return path

    for count in GROUPS:
        started = time.perf_counter()
        write(count, 0)
        print(f"Parquet: {count} cells written and synced in {1e3 * (time.perf_counter() - started):.1f} ms")
    paths = [write(SHARD, begin) for begin in range(0, CELLS, SHARD)]
    started = time.perf_counter()
    for path in paths:
        buffer = pa.memory_map(str(path)).read_buffer()
        assert hashlib.sha256(buffer).hexdigest() == path.stem
        pq.ParquetFile(pa.BufferReader(buffer)).read()
    print(f"Parquet: everything verified and read in {time.perf_counter() - started:.2f} s")
    paths[0].rename(paths[1])
    wrong = hashlib.sha256(paths[1].read_bytes()).hexdigest() != paths[1].stem
    print(f"Parquet: a file with another's name is {'noticed' if wrong else 'not noticed'}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        zarr_rows(Path(name))
        parquet_rows(Path(name))
