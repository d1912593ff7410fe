"""Two runs of `esssim verify`: `python -m benchmarks.compare_results OLD.json NEW.json`.

After a change of speed every verdict of OLD must be that of NEW, and every number that moved must lie inside the
interval of OLD. Exit code 0 where it is so, 1 where it is not, 2 for files that are no results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Entry = Mapping[str, Any]
# What rounding may do to a number whose interval is a point: so much of it, or so much where it is a rounding error
# itself.
ROUNDING, NOTHING = 1e-9, 1e-11


@dataclass(frozen=True)
class Comparison:
    """equal: how many numbers are the same to the last bit; moved: those that are not but are allowed to be; ids of the
    rest.
    """

    compared: int
    equal: int
    moved: tuple[str, ...]
    outside: tuple[str, ...]
    other_verdict: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the new run says what the old one said."""
        return self.compared > 0 and not (self.outside or self.other_verdict or self.missing)


def compared(old: Sequence[Entry], new: Sequence[Entry]) -> Comparison:
    """Of what was measured in `old`; what was skipped there says nothing."""
    fresh = {entry["id"]: entry for entry in new if entry["verdict"] != "skipped"}
    known = [entry for entry in old if entry["verdict"] != "skipped"]
    pairs = [(entry, fresh[entry["id"]]) for entry in known if entry["id"] in fresh]
    moved = [(before, after) for before, after in pairs if before["measured"] != after["measured"]]
    outside = tuple(after["id"] for before, after in moved if not is_inside(after["measured"], before))
    return Comparison(
        compared=len(pairs),
        equal=len(pairs) - len(moved),
        moved=tuple(after["id"] for _, after in moved if after["id"] not in outside),
        outside=outside,
        other_verdict=tuple(after["id"] for before, after in pairs if before["verdict"] != after["verdict"]),
        missing=tuple(entry["id"] for entry in known if entry["id"] not in fresh),
    )


def is_inside(value: float | None, before: Entry) -> bool:
    """Whether a number lies in the interval of an entry, or is the same to rounding where that is a point or none."""
    measured, interval = before["measured"], before["interval"]
    if value is None or measured is None:
        return False
    low, high = interval or (measured, measured)
    room = max(ROUNDING * abs(measured), NOTHING)
    lowest = -float("inf") if low is None else min(low, measured - room)
    highest = float("inf") if high is None else max(high, measured + room)
    return bool(lowest <= value <= highest)


def seconds(entries: Sequence[Entry]) -> float:
    """How long a run took."""
    return float(sum(entry["seconds"] for entry in entries))


def report(old: Sequence[Entry], new: Sequence[Entry]) -> tuple[str, bool]:
    """In words, and whether the runs agree."""
    found = compared(old, new)
    lines = [
        f"{found.compared} claims compared: {found.equal} numbers equal, {len(found.moved)} moved inside their "
        "interval",
        f"old {seconds(old):,.0f} s, new {seconds(new):,.0f} s",
    ]
    before, after = ({entry["id"]: entry for entry in entries} for entries in (old, new))
    for words, ids in (
        ("another verdict", found.other_verdict), ("outside the interval of the old run", found.outside),
        ("missing", found.missing),
    ):  # fmt: skip
        lines.append(f"{words}: {len(ids) or 'none'}")
        for name in ids:
            was, now = before[name], after.get(name, {"verdict": "missing", "measured": None})
            lines.append(
                f"  {name}: {was['verdict']} {was['measured']} {was['interval']} → {now['verdict']} {now['measured']}"
            )
    return "\n".join(lines), found.agrees


def entries_of(path: str) -> list[Entry]:
    """The claims of a results.json. Raises ValueError for another file."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["claims"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be the results.json of `esssim verify`: {error}") from error
    return list(entries)


def main(arguments: Sequence[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        old, new = map(entries_of, arguments)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    words, agrees = report(old, new)
    print(words)
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
