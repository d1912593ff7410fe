"""`esssim doctor`: is this installation right, and how reliable is the code?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from esssim.cli.common import AsJson, OutFolder, prepare_folder, print_json

HELP = """Check this installation, or measure the figures of reliability.

Without options: versions, linear algebra and its threads, the cache of compiled loops, and one number of each kind
against its reference; about 20 seconds.

--full measures the figures that docs/reliability.md shows, all of them or those of the keys (--list): minutes to hours.
--quick measures a short version of them. With --out each figure is in DIR/reliability.json and .md as soon as it is
there, beside those of other keys.

Exit code: 0 every number and figure is right, 1 one is not, 2 bad input or one that could not be measured.

Examples:

    esssim doctor

    esssim doctor --json

    esssim doctor --quick a e

    esssim doctor --full --out reliability"""


def doctor(
    keys: Annotated[list[str] | None, typer.Argument(metavar="[KEY]...", show_default=False)] = None,
    full: Annotated[bool, typer.Option("--full", help="Measure the figures of reliability.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Measure a short version of them.")] = False,
    as_json: AsJson = False,
    out: OutFolder = None,
    listed: Annotated[bool, typer.Option("--list", help="List the figures instead of measuring them.")] = False,
) -> None:
    if full and quick:
        raise ValueError("--full and --quick exclude each other")
    if listed:
        _list(as_json)
        return
    if not (full or quick):
        if keys or out is not None:
            raise ValueError(f"{'KEY' if keys else '--out'} needs --full or --quick")
        raise typer.Exit(_installation(as_json))
    raise typer.Exit(_figures(keys or None, quick, as_json, out))


def _installation(as_json: bool) -> int:
    from esssim.doctor import installation, numbers
    from esssim.report.progress import step_progress

    with step_progress() as tell:
        tell("looking at what is installed")
        found = installation.installation()
        tell(f"{len(numbers.NUMBERS)} numbers against their references")
        measured = list(numbers.measure())
    if as_json:
        print_json(found | {"numbers": [number.as_row() for number in measured]})
    else:
        from esssim.doctor.show import show_installation

        show_installation(found, measured)
    if any(number.error for number in measured):
        return 2
    return 0 if all(number.passed for number in measured) else 1


def _figures(keys: list[str] | None, quick: bool, as_json: bool, out: Path | None) -> int:
    from esssim.doctor import page, record, show
    from esssim.doctor.measure import measured_entries
    from esssim.doctor.run import select

    chosen = select(keys)
    known: dict[str, Any] = {}
    if out is not None:
        prepare_folder(out)
        known = record.read(out / record.FILE)

    def keep(entry: dict[str, Any]) -> None:
        nonlocal known
        if out is not None:
            known = record.merged(known, [entry])
            record.write(out / record.FILE, known)

    with show.check_progress(chosen, quick) as (told, listener):
        entries = measured_entries(keys, quick=quick, told=told, listener=listener, keep=keep)
    if out is not None:
        from esssim import store

        store.write_text(out / "reliability.md", page.markdown(known))
        print(f"wrote {out / 'reliability.md'}", file=sys.stderr)
    if as_json:
        print_json({"checks": entries})
    else:
        show.show_entries(entries)
    if any(entry["error"] for entry in entries):
        return 2
    return 1 if any(entry["passed"] is False for entry in entries) else 0


def _list(as_json: bool) -> None:
    from esssim.doctor.run import checks

    found = [{"key": each.key, "title": each.title, "about": each.about} for each in checks().values()]
    if as_json:
        print_json({"checks": found})
    else:
        for each in found:
            print(f"{each['key']}  {each['title']}")
