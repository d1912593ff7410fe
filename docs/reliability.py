"""The figures of reliability: docs/reliability.md from docs/reliability.json.

python docs/reliability.py            write the page from the numbers
python docs/reliability.py KEY...     measure these figures anew, and write both (the full versions: minutes to hours)
python docs/reliability.py --check    exit 1 if the page and the numbers differ
"""

from __future__ import annotations

import sys
from pathlib import Path

from esssim.doctor import page, record
from esssim.doctor.measure import measured_entries
from esssim.report.pages import keep_page

NUMBERS = Path(__file__).with_name(record.FILE)
# What stands behind a failure, by the key of the check.
WHY = {
    "c": [
        "Levels of eight replicas cover 97 %, more than they say: the wider of two intervals is taken, by the autocorrelation of "
        "each replica and by the spread of the replicas' means. Either alone covers 95 or 96 %.",
        "Eight runs of an exponential or a log-normal law say too little about its mean. A warning from the runs themselves "
        "would come in the wrong cases: in 20,000 repetitions, runs that look symmetric (skewness below 1) cover the mean of "
        "the exponential law in 86 %, the others in 92 %, because what is missing from the runs is the large value that would "
        "show the skewness. `half_width` therefore says it in its documentation, for everybody who takes few runs.",
        "Hall's interval (1992), which corrects Student's by the skewness of the runs, covers 94 % (exponential) and 91 % "
        "(log-normal) there, but 97 % of uniform runs, outside of the range; it is not used.",
    ],
}
# Faults that a check has found, of the code or of the check, by its key.
MENDED = {
    "m": [
        "In an earlier run, with pauses that left most of a core to others, two hours were 49 sweeps on two workers. That is the beginning, in which "
        "the memory of a worker grows fastest: 0.26, 0.15, 0.13 and 0.09 MB for each ten sweeps from the tenth to the fiftieth. The check has no "
        "pauses since. No object stays: a worker had as many blocks of Python's memory after thirty sweeps as after ten, but for 20 of 940,000.",
    ],
    "g": [
        'An earlier run, at low priority beside ten other processes, ended with "no cell was finished in 300 s". Nothing was changed '
        "for the run that is shown, with one other process and less on the two cores.",
    ],
    "e": [
        "The mean-square sharpness of a Hessian whose positive eigenvalues are all rounding was a wrong number, or an error "
        "about symmetry. It is undefined there, and says so.",
        "`top_direction` divided by a sharpness of few digits without room for its rounding: violated in the last digit.",
        "`identity` counted directions whose eigenvalues are rounding, which the mean-square sharpness leaves out: violated by "
        "a few parts in 10¹³ on graded features.",
    ],
    "f": [
        "One of 100 planted formulas was not refuted (a mean of half the step, 16 % off, seed 10131): 400 runs know that loss to "
        "5.7 %, and the verdict, inconclusive, was right. The plant asked for more than its runs can say. Planted formulas "
        "are compared with 6,400 runs since; how far they are off, and that all have to be refuted, is as before.",
    ],
    "l": [
        "A run was marked one or two steps after its first undefined record, where a sample out of range was in none of the "
        "batches between. `simulate` and `bridge.train` mark it at that record.",
        "A record was finite at the marked step where a residual passed the limit before its gradient did.",
        "`moments.evolve` had infinite losses without a mark where the loss overflows before the moments.",
    ],
    "n": [
        "A table whose last line is a control character ended in StopIteration instead of an error: pandas takes that line for "
        "a row, and the search for its number did not. Both do since; an earlier, shorter run had found it.",
        "Five of 100,000 tables as CSV ended in StopIteration, too, in the run before the one that is shown. Two that were found again have "
        "a line that is an empty cell in quotes, which pandas takes for a row. The search does since.",
    ],
    "o": [
        "Survivors in `data` and `moments` got tests (what is no sequence of names, targets without noise, subclasses that "
        "are not quadratic), or a reason why they are no errors.",
        "`settling` was measured in full for the first time: 19 of 60 survived, among them the terms of R-hat, a number that the reason "
        "of a verdict shows. Two are no errors. Tests that compare R-hat with arviz-stats, and intervals, borders and phases with "
        "closed forms, see the 17 others.",
        "Of 45 mutants of `spectra` nine survived. Tests of extreme units and of the second start see three of them since; six are "
        "tolerances and boundaries, and left out with their reasons.",
        "`problems` and `simulation` could not be run before: tests that start workers, and those of the examples, failed in the copy. And the tests "
        "that answered for a package were those of an earlier state of the code. In first samples of 15 a package, without those that are no errors, 6 of 13 mutants of "
        "`problems` survived, 3 of 14 of `simulation`, 2 of 12 of `statistics`, 5 of 14 of `stability` and none of 15 of `flow`. Nine of these 16 died by tests that had "
        "not been asked. Seven had been seen by no test: of rows of more than 40 features, which are taken four at a time (two), of a bound close to the limit of divergence, "
        "of GELU in the compiled loop, of the scalar closure with another τ₁, and two of the check of a user's derivatives.",
        "What is like them was looked for: the compiled loops of five methods had never been compared on a step size that changes. Tests see all of these since.",
        "Second samples of these two, drawn with these tests in place, were below 90 %: 12 of 14 and 10 of 12. A third one of `problems` was again, 12 of 14: the "
        "rounding that a Hessian in single precision may have, and which sample is named where a curvature is wrong. Tests see both since. "
        "The rows are the first samples that passed: the fourth of `problems`, 14 of 15, and the third of `simulation`, 13 of 14, without a bound that only costs time where it is larger.",
    ],
}


def stored() -> str:
    """The page with the numbers that are kept beside it."""
    return page.markdown(record.read(NUMBERS), MENDED, WHY)


def main() -> int:
    keys = sys.argv[1:]
    if keys and keys != ["--check"]:
        try:
            entries = measured_entries(keys, quick=False)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        record.write(NUMBERS, record.merged(record.read(NUMBERS), entries))
        del sys.argv[1:]
    return keep_page(__file__, stored)


if __name__ == "__main__":
    sys.exit(main())
