"""`esssim verify`: claims are measured, and each verdict is on the disk before the next claim begins."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from esssim.cli import complete, interrupts
from esssim.cli.common import AsJson, OutFolder, prepare_folder, print_json

if TYPE_CHECKING:
    from esssim.claims import Verdict
    from esssim.claims.claim import Claim
    from esssim.report.journal import Journal

HELP = """Measure claims: which hold, which are refuted, is it what we predict?

CLAIM is an id, the beginning of one up to a slash (`esssim verify --list`), or a statistic (MiniBS, Q_b, IAS); all
claims without one. The first line says how long it will take.

With --out every verdict is on the disk before the next claim begins. Ctrl-C and SIGTERM leave a valid report of what
is there, and --resume goes on from it.

Exit code: 0 all as predicted, 1 something contradicts our prediction, 2 bad input or a claim that could not be
measured, 3 something stayed undecided, 130 and 143 interrupted.

Examples:

    esssim verify --quick

    esssim verify mean-square-settles --out results

    esssim verify --out results --resume

    esssim verify minibs-settles/diabetes/b=4 --json

    esssim verify --bridge --quick

Claims about torch networks need the extra esssim[bridge]; without it they are skipped, and a line says so."""


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CLAIM]...", show_default=False, autocompletion=complete.claims),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Shorter runs of the claims that they can decide: two minutes, half of that for torch networks.",
        ),
    ] = False,
    as_json: AsJson = False,
    out: OutFolder = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run into --out DIR ended.")] = False,
    bridge: Annotated[
        bool, typer.Option("--bridge", help="Only the claims about torch networks (extra: esssim[bridge]).")
    ] = False,
    listed: Annotated[bool, typer.Option("--list", help="List the claims instead of measuring them.")] = False,
) -> None:
    _check(names or [], resume, out)
    if out is not None and not listed:
        prepare_folder(out)  # before the claims are loaded: what is wrong with it is said at once, and alone
    from esssim import claims

    if "registry" not in vars(claims) and not listed:
        print("loading the claims ...", file=sys.stderr, flush=True)  # two seconds in which nothing else is seen
    extra = "bridge" if bridge else None
    selected = claims.registry.select(names or None, quick, extra)
    if listed:
        _list(selected, as_json)
        return
    if not selected:
        lacks = {"--quick": (False, extra), "--bridge": (quick, None)}
        given = {"--quick": quick, "--bridge": bridge}
        why = next(
            (f"; without {option} there is" for option, without in lacks.items()
             if given[option] and claims.registry.select(names or None, *without)), "",
        )  # fmt: skip
        raise ValueError(f"there is no claim to verify{why}")
    absent = claims.missing(extra) if extra else None
    if absent:
        raise ValueError(f"--bridge needs torch: {absent}")
    verdicts: list[Verdict] = []
    with interrupts.saving(lambda: _save(out, selected, list(verdicts), quick)):
        _measure(selected, names or None, quick, extra, out, resume, verdicts)
        _tell(verdicts, quick, as_json, out)
    raise typer.Exit(claims.exit_code(verdicts))


def _tell(verdicts: list[Verdict], quick: bool, as_json: bool, out: Path | None) -> None:
    """The files and the table. The numbers are safe before anything is drawn."""
    from esssim import report
    from esssim._environment import environment
    from esssim.report.terminal import show_verdicts

    where = environment(_seed())
    if out is not None:
        report.write_results(out, verdicts, where)
    if as_json:
        print(report.results_json(verdicts, where), end="")
    else:
        show_verdicts(verdicts)
    if out is not None:
        from esssim import plots

        drawable = [verdict.claim.setting for verdict in verdicts if verdict.error is None]
        report.write_report(out, verdicts, where, plots.report_pictures(quick, drawable), quick)
        print(f"report: {out / 'report.html'}", file=sys.stderr)
    for verdict in verdicts:
        if verdict.error is not None:
            print(f"error: {verdict.claim.id} could not be measured: {verdict.error}", file=sys.stderr)


def _check(names: Sequence[str], resume: bool, out: Path | None) -> None:
    """What can be said without the code that measures, which takes seconds to import."""
    if resume and out is None:
        raise ValueError("--resume needs the folder of the earlier run: --out DIR")
    if names:
        from esssim.claims import index
        from esssim.claims.names import matching

        for name in names:
            matching(name, index.ids())


def _seed() -> int:
    from esssim.experiments import RampExperiment

    return RampExperiment.seed


def _measure(
    selected: list[Claim],
    names: list[str] | None,
    quick: bool,
    extra: str | None,
    out: Path | None,
    resume: bool,
    verdicts: list[Verdict],
) -> None:
    """Fill the list of verdicts, which an interrupt finds as far as it has come."""
    from esssim import claims
    from esssim.claims.verify import verify_claims
    from esssim.report.forecast import announcement
    from esssim.report.journal import Journal
    from esssim.report.terminal import claim_progress

    journal = None if out is None else Journal(out, begins_anew=not resume)
    if out is not None and not resume and (count := Journal.length(out)):
        print(f"{out}: its {count} verdicts will be replaced; --resume would go on from them", file=sys.stderr)
    known = _taken_up(journal, selected, quick) if journal is not None and resume else {}
    verdicts += known.values()
    left = [claim for claim in selected if claim.id not in known]
    if len(left) > 1:
        print(announcement(left, quick), file=sys.stderr, flush=True)
    with claim_progress(left, quick) as show:

        def keep(claim: Claim, verdict: Verdict | None) -> None:
            if verdict is not None:
                if journal is not None:
                    journal.add(verdict, quick)
                verdicts.append(verdict)
            show(claim, verdict)

        verdicts[:] = verify_claims(claims.registry, names, quick, extra=extra, known=known, each=keep)


def _taken_up(journal: Journal, selected: list[Claim], quick: bool) -> dict[str, Verdict]:
    """The verdicts of the earlier run; says what is measured anew, and why."""
    known, others = journal.known(selected, quick)
    print(f"{len(known)} of {len(selected)} claims were measured before", file=sys.stderr)
    if journal.damaged:
        lines = "1 line" if journal.damaged == 1 else f"{journal.damaged} lines"
        print(f"left out, damaged: {lines} of {journal.path}", file=sys.stderr)
    for reason, ids in others.items():
        more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
        print(f"measured again, {reason}: {', '.join(ids[:3])}{more}", file=sys.stderr)
    return known


def _save(out: Path | None, selected: list[Claim], verdicts: list[Verdict], quick: bool) -> None:
    """A valid report of what is there, without pictures: they come with --resume."""
    if out is None or not verdicts:
        return
    from esssim import report
    from esssim._environment import environment

    order = {claim.id: place for place, claim in enumerate(selected)}
    verdicts.sort(key=lambda verdict: order[verdict.claim.id])
    where = environment(_seed())
    report.write_results(out, verdicts, where)
    report.write_report(out, verdicts, where, quick=quick)
    print(
        f"interrupted: {len(verdicts)} of {len(selected)} claims are in {out}; --resume goes on",
        file=sys.stderr,
        flush=True,
    )


def _list(selected: list[Claim], as_json: bool) -> None:
    from esssim.report.terminal import show_claims

    if as_json:
        print_json({"claims": [claim.as_dict() for claim in selected]})
    else:
        show_claims(selected)
