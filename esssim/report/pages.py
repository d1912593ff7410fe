"""The pages in docs/ that a script writes from numbers, and the check that they still say what the numbers say."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from esssim import store
from esssim._rows import Row
from esssim._threads import one_blas_thread
from esssim.claims.gap_tables import as_json


def keep_page(
    script: str,
    markdown: Callable[[], str],
    measure: Callable[[Path], None] | None = None,
    predict: Callable[[Path], None] | None = None,
) -> int:
    """The command line of docs/NAME.py, which keeps NAME.md: 0 done, 1 out of date, 2 for anything unknown.

    Without arguments the numbers are measured anew, by `measure` with the path of NAME.json, and the page is written;
    --check only compares it with `markdown`, which reads the numbers; --predict writes both after `predict` alone.
    """
    page = Path(script).with_suffix(".md")
    command, given = f"python docs/{Path(script).name}", sys.argv[1:]
    flags = ["--check"] if predict is None else ["--check", "--predict"]
    if given and given not in [[flag] for flag in flags]:
        print(f"usage: {command} [{' | '.join(flags)}]", file=sys.stderr)
        return 2
    if given != ["--check"]:
        make = predict if given else measure
        if make is not None:
            make(page.with_suffix(".json"))
        store.write_text(page, markdown())
        return 0
    try:
        if page.is_file() and page.read_text(encoding="utf-8") == markdown():
            return 0
    except ValueError as error:
        print(f"error: {page}: {error}", file=sys.stderr)
    print(f"error: {page} is out of date: run {command}", file=sys.stderr)
    return 1


def complete_rows(
    numbers: Path,
    content: dict[str, Any],
    rows: Iterable[dict[str, Any]],
    make: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    predicted: str,
    seen: str,
    predicts: bool,
) -> None:
    """What `make` gives for the rows of a page's content that lack it, the content written to `numbers` after each.

    predicted, seen: a name that a row has once its prediction is written, and once its run is made. predicts: `make`
    predicts, and the day is written too. Raises ValueError for a prediction after the run, and a run without one.
    """
    for row in rows:
        if (predicted if predicts else seen) in row:
            continue
        if predicts and seen in row:
            raise ValueError("a prediction is written before the run, and this row has one")
        if not predicts and predicted not in row:
            command = f"python docs/{numbers.with_suffix('.py').name} --predict"
            raise ValueError(f"a run needs its prediction first: {command}")
        with one_blas_thread():
            row |= make(row)
        if predicts:
            row["predicted_on"] = datetime.datetime.now(datetime.UTC).date().isoformat()
        print(row, flush=True)
        store.write_text(numbers, as_json(content))


def keep_measured_page(
    script: str, markdown: Callable[[dict[str, list[Row]]], str], measure: Callable[[], dict[str, list[Row]]]
) -> int:
    """`keep_stored_page` of the tables of rows that `measure` gives."""

    def keep(path: Path) -> None:
        with one_blas_thread():
            store.write_text(path, as_json(measure()))

    return keep_stored_page(script, markdown, keep)


def keep_stored_page(
    script: str,
    markdown: Callable[[Any], str],
    measure: Callable[[Path], None],
    predict: Callable[[Path], None] | None = None,
) -> int:
    """`keep_page` of a page whose numbers are in NAME.json."""
    numbers = Path(script).with_suffix(".json")
    return keep_page(script, lambda: markdown(json.loads(numbers.read_text(encoding="utf-8"))), measure, predict)


def keep_predicted_page(
    script: str,
    markdown: Callable[[Any], str],
    rows: Sequence[dict[str, Any]],
    predict: Callable[[dict[str, Any]], dict[str, Any]],
    measure: Callable[[dict[str, Any]], dict[str, Any]],
    *,
    predicted: str,
    seen: str,
) -> int:
    """`keep_stored_page` of rows that `complete_rows` predicts with one function and measures with the other.

    rows: what each begins with; those that NAME.json lacks are added to it.
    """

    def complete(numbers: Path, *, predicts: bool) -> None:
        content = json.loads(numbers.read_text(encoding="utf-8")) if numbers.is_file() else {"rows": []}
        content["rows"] += [row for row in rows if not any(row.items() <= known.items() for known in content["rows"])]
        make = predict if predicts else measure
        complete_rows(numbers, content, content["rows"], make, predicted=predicted, seen=seen, predicts=predicts)

    return keep_stored_page(script, markdown, partial(complete, predicts=False), partial(complete, predicts=True))


def hit_or_miss(hit: bool) -> str:
    """What a cell says of a prediction."""
    return "hit" if hit else "**miss**"
