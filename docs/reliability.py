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


def stored() -> str:
    """The page with the numbers that are kept beside it."""
    return page.markdown(record.read(NUMBERS))


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
