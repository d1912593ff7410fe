"""Tables in text files: their encoding, separator, decimal sign and first line, found out or given."""

from __future__ import annotations

import contextlib
import csv
import io
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from esssim import _validate

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
DECIMALS = (".", ",")
# Lines that are looked at to find the separator and the decimal sign.
LINES_LOOKED_AT = 200
CELLS_SHOWN = 3
LARGEST_EXACT_INTEGER = 2.0**53
# What stands between thousands in print, and the sign on a keyboard.
_PLAIN = {"\xa0": " ", "\u202f": " ", "’": "'"}
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_BEFORE_THREE = re.compile(r"[.,](?=\d{3}(?:\D|$))")
# 1,234 may be 1234 or 1.234; 1,23 and 1,2345 can only be decimals.
_GROUPED = {sign: re.compile(rf"[-+]?[1-9]\d{{0,2}}(?:{re.escape(sign)}\d{{3}})+") for sign in ",."}
_DECIMAL_COMMA = re.compile(r"[-+]?(?:\d+,\d*|,\d+)(?:[eE][-+]?\d+)?")
_BOTH = {
    ".": re.compile(r"[-+]?\d{1,3}(?:,\d{3})+\.\d*"),  # 1,234.5
    ",": re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+,\d*"),  # 1.234,5
}


@dataclass(frozen=True)
class TextFormat:
    """How a text table is written; None stands for what the file itself shows.

    separator: one character, or "tab"; decimal: "." or ","; thousands: the sign between groups of three digits;
    encoding: such as "utf-8", "latin-1" or "utf-16"; header: whether the first line holds names.
    """

    separator: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    header: bool | None = None

    def __post_init__(self) -> None:
        named = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}
        if self.separator is not None:
            separator = named.get(self.separator, self.separator)
            object.__setattr__(self, "separator", _one_character("separator", separator))
        if self.decimal is not None:
            _validate.choice("decimal", self.decimal, DECIMALS)
        if self.thousands is not None:
            thousands = _one_character("thousands", named.get(self.thousands, self.thousands))
            object.__setattr__(self, "thousands", _PLAIN.get(thousands, thousands))
        if self.encoding is not None:
            try:
                "".encode(self.encoding)
            except (LookupError, TypeError, UnicodeError) as error:
                raise ValueError(f"encoding must be one that Python knows, got {self.encoding!r}") from error
        if self.header is not None:
            _validate.flag("header", self.header)
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError(f"decimal and thousands must differ, got {self.decimal!r} for both")

    def only_for_text(self, table: str, is_text: bool) -> None:
        """ValueError where something is said about a table that is no text."""
        said = [name for name, value in vars(self).items() if value is not None]
        if said and not is_text:
            raise ValueError(f"{said[0]} is for .csv, .tsv and .txt files, got the table {table!r}")


@dataclass(frozen=True)
class TextTable:
    """Names, one pandas Series a column, row ↦ its line in the file (both from 0 and 1), notes on how it was read."""

    names: list[str]
    columns: list[Any]
    line_of: Callable[[int], int]
    notes: tuple[str, ...]


def read_text(file: Path, form: TextFormat) -> TextTable:
    """The cells of a text table: numbers where a whole column holds them. ValueError where the file leaves a choice."""
    text, form, notes = _decoded(file, form)
    skipped, comments = _leading_comments(text)
    if comments:
        notes.append(f"{file.name}: {comments} line{'s' * (comments > 1)} that begin{'s' * (comments == 1)} with # "
                     "before the table: not read.")  # fmt: skip
    body = text[skipped:]
    for printed, plain in _PLAIN.items():
        if plain == form.thousands:
            body = body.replace(printed, plain)
    first_line = text.count("\n", 0, skipped) + 1
    form, body, declared = _declared_separator(form, body)
    first_line += declared
    some = _some_lines(body)
    if not some:
        raise ValueError("it has no first line of names")
    if form.separator is None:
        form = replace(form, separator=_separator(file, some, form))
    rows = _cells(some, str(form.separator))
    form = _with_header(file, form, rows[0], first_line)
    form = _with_decimal(file, form, rows[1:] if form.header else rows, first_line + bool(form.header))
    names = [cell.strip() for cell in rows[0]] if form.header else [f"x{k}" for k in range(len(rows[0]))]
    if not form.header:
        notes.append(f"{file.name}: without a line of names, its columns are x0 to x{len(names) - 1}.")
    notes += _differences(file, form)
    import pandas as pd

    lines = _Body(body, str(form.separator), first_line, bool(form.header))
    # The names go in by position: pandas would rename duplicates and take a column without a name as an index.
    options: dict[str, Any] = {
        "header": 0 if form.header else None, "names": range(len(names)), "index_col": False, "skipinitialspace": True,
        "sep": form.separator,
    }  # fmt: skip
    try:
        with warnings.catch_warnings():
            # Rows longer than the header: pandas would drop their last numbers with no more than this warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                io.StringIO(body), low_memory=False, decimal=form.decimal, thousands=form.thousands, **options
            )
    except (ValueError, pd.errors.ParserWarning) as error:
        for line, cells in lines.rows():
            if cells > len(names):
                raise ValueError(f"line {line} has {cells} cells, the first line has {len(names)}") from error
        raise
    columns = [frame[position] for position in frame.columns]
    if form.decimal == ",":
        _refuse_points(columns, lines)
    large = [column.dtype.kind == "f" and bool((column.abs() >= LARGEST_EXACT_INTEGER).any()) for column in columns]
    if form.thousands or any(large):
        written = pd.read_csv(io.StringIO(body), dtype=str, **options)
        for k in written.columns:
            if columns[k].dtype.kind in "iuf":
                cells = _without_thousands(written[k], form, lines.line)
                # Integers beside a missing entry or a decimal were rounded on the way.
                columns[k] = cells.str.replace(str(form.decimal), ".", regex=False) if large[k] else columns[k]
    return TextTable(names, columns, lines.line, tuple(notes))


@dataclass(frozen=True)
class _Body:
    """The lines of a table, read once more where an error has to name one."""

    text: str
    separator: str
    first_line: int
    header: bool

    def rows(self) -> Iterator[tuple[int, int]]:
        """(line on which it ends, number of cells) of each row of numbers."""
        lines = list(io.StringIO(self.text))
        reader = csv.reader(lines, delimiter=self.separator, skipinitialspace=True)
        # A cell in quotes is a row also where it is empty, as pandas has it.
        filled = (
            row
            for row in reader
            if len(row) > 1 or '"' in lines[reader.line_num - 1] or any(cell.strip(" \t") for cell in row)
        )
        for k, row in enumerate(filled):
            if k or not self.header:
                yield self.first_line + reader.line_num - 1, len(row)

    def line(self, row: int) -> int:
        """The line of row number `row`, the first being 0."""
        return next(line for k, (line, _) in enumerate(self.rows()) if k == row)


def _without_thousands(cells: Any, form: TextFormat, line_of: Callable[[int], int]) -> Any:
    """A column of numbers as text without the signs between thousands; ValueError where one stands elsewhere."""
    if not form.thousands:
        return cells
    sign, decimal = re.escape(form.thousands), re.escape(str(form.decimal))
    grouped = rf"[-+]?\d{{1,3}}(?:{sign}\d{{2,3}})*{sign}\d{{3}}(?:{decimal}\d*)?(?:[eE][-+]?\d+)?"
    wrong = cells.str.contains(form.thousands, regex=False, na=False) & ~cells.str.strip().str.fullmatch(
        grouped, na=True
    )
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise ValueError(
            f"line {line_of(row)} has {cells.iloc[row]!r}, where {form.thousands!r} is not between groups of three "
            "digits: say what it is with thousands (--thousands) and decimal (--decimal)"
        )
    return cells.str.replace(form.thousands, "", regex=False)


def _one_character(name: str, value: str) -> str:
    if not isinstance(value, str) or len(value) != 1 or value in '"\n\r' or value.isalnum():
        raise ValueError(f"{name} must be one character, or 'tab', got {_validate.shown(value)}")
    return value


def _decoded(file: Path, form: TextFormat) -> tuple[str, TextFormat, list[str]]:
    """The text, with the encoding that its first bytes name, else UTF-8, else Windows-1252 (said in a note)."""
    content = file.read_bytes()
    notes = []
    encoding = form.encoding or next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
    if encoding is None and content[:200].count(0) > len(content[:200]) // 4:
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeError as error:
        if encoding is not None:
            raise ValueError(
                f"it is not encoded in {encoding} ({error}); encoding (--encoding) names another"
            ) from error
        encoding = "cp1252"
        text = content.decode(encoding, errors="replace")
        notes.append(f"{file.name} is not UTF-8 and was read as Windows-1252; encoding (--encoding) names another.")
    if "\0" in text:
        raise ValueError(
            "it holds NUL characters, as no text does; encoding (--encoding) names another, such as utf-16"
        )
    return (
        text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"),
        replace(form, encoding=encoding),
        notes,
    )


def _leading_comments(text: str) -> tuple[int, int]:
    """Where the table begins behind blank lines and lines that begin with #, and how many of the latter there are."""
    start = comments = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        line = text[start:end].strip()
        if line and not line.startswith("#"):
            break
        comments += bool(line)
        start = end
    return start, comments


def _declared_separator(form: TextFormat, body: str) -> tuple[TextFormat, str, int]:
    """A first line `sep=;`, as spreadsheets write it, decides the separator and is no row."""
    line, _, rest = body.partition("\n")
    found = re.fullmatch(r"sep=(.)", line.strip("\r\n "), flags=re.IGNORECASE) or re.fullmatch(r"sep=(\t)\s*", line)
    if found is None:
        return form, body, 0
    return (form if form.separator else replace(form, separator=found[1])), rest, 1


def _some_lines(body: str) -> str:
    """The first lines that are not blank, a quoted line break counted as a line."""
    lines = [line for line in body.split("\n", 4 * LINES_LOOKED_AT)[: 4 * LINES_LOOKED_AT] if line.strip()]
    return "\n".join(lines[:LINES_LOOKED_AT])


def _cells(text: str, separator: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    return [[cell.strip() for cell in row] for row in reader if row]


def _separator(file: Path, some: str, form: TextFormat) -> str:
    """The one that cuts every line into as many cells as the first, numbers where possible."""
    cut: dict[str, list[list[str]]] = {}
    for separator in SEPARATORS:
        with contextlib.suppress(csv.Error):
            lines = _cells(some, separator)
            if len(lines[0]) > 1:
                cut[separator] = lines
    if len(cut) == 1:  # no need to look at its numbers
        return next(iter(cut))
    scores = {separator: _score(lines, form) for separator, lines in cut.items()}
    best = [separator for separator, score in scores.items() if score == max(scores.values())]
    if len(best) > 1 and "\n" in some:
        listed = " and ".join(SEPARATORS[separator] for separator in best)
        raise ValueError(f"its separator may be {listed}: say which with separator (--sep)")
    return best[0] if best else ","


def _score(lines: list[list[str]], form: TextFormat) -> tuple[bool, float]:
    """Whether all lines have as many cells as the first, and the fraction of numbers below it."""
    first, *rows = lines
    numbers = [_is_number(cell, form) for row in rows for cell in row]
    return all(len(row) == len(first) for row in rows), sum(numbers) / max(1, len(numbers))


def _is_number(cell: str, form: TextFormat) -> bool:
    if cell == "":
        return True  # missing, and said so later
    plain = cell.replace(form.thousands, "") if form.thousands else cell
    if "_" in plain:
        return False
    # Where the decimal sign is not known, a comma in a number of its own cell may be one.
    commas_allowed = form.decimal == "," or (form.decimal is None and form.thousands is None)
    return _is_float(plain) or (commas_allowed and _is_float(_BEFORE_THREE.sub("", plain).replace(",", ".")))


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _with_header(file: Path, form: TextFormat, first: list[str], line: int) -> TextFormat:
    """A first line of numbers alone is no line of names, unless the caller says so."""
    if form.header is not None:
        return form
    if all(_is_number(cell, form) and cell for cell in first):
        shown = ", ".join(first[:CELLS_SHOWN]) + (", …" if len(first) > CELLS_SHOWN else "")
        raise ValueError(
            f"line {line} must hold the names of its columns, got numbers alone ({shown}): header=False (--no-header) "
            "reads them as the first row of columns x0, x1, …; header=True (--header) takes them for names"
        )
    return replace(form, header=True)


def _with_decimal(file: Path, form: TextFormat, rows: list[list[str]], first_line: int) -> TextFormat:
    """The decimal sign and the sign between thousands that the cells show; ValueError where they allow two readings."""
    if form.decimal is not None:
        return form
    if form.thousands in DECIMALS:
        return replace(form, decimal="," if form.thousands == "." else ".")
    cells = [(cell, first_line + k) for k, row in enumerate(rows) for cell in row if "," in cell]
    if form.thousands:
        plain = [cell.replace(form.thousands, "") for cell, _ in cells]
        return replace(form, decimal="," if any(map(_DECIMAL_COMMA.fullmatch, plain)) else ".")
    if not cells:
        return replace(form, decimal=".")
    if any(_BOTH[","].fullmatch(cell) for cell, _ in cells):
        return replace(form, decimal=",", thousands=".")
    if any(_BOTH["."].fullmatch(cell) for cell, _ in cells):
        return replace(form, decimal=".", thousands=",")
    numbers = [(cell, line) for cell, line in cells if _DECIMAL_COMMA.fullmatch(cell) or _GROUPED[","].fullmatch(cell)]
    if any(not _GROUPED[","].fullmatch(cell) for cell, _ in numbers):
        points = any(re.fullmatch(r"[-+]?\d+\.\d+", cell) for row in rows for cell in row)
        if not points:
            return replace(form, decimal=",")
        cell, line = next((cell, line) for cell, line in numbers if not _GROUPED[","].fullmatch(cell))
        raise ValueError(
            f"line {line} has {cell!r} in a table with decimal points too: say which with decimal (--decimal)"
        )
    if numbers:
        cell, line = numbers[0]
        raise ValueError(
            f"{cell!r} in line {line} may be {cell.replace(',', '')} or {cell.replace(',', '.', 1)}: "
            "thousands=',' (--thousands ,) or decimal=',' (--decimal ,) says which"
        )
    return replace(form, decimal=".")


def _refuse_points(columns: list[Any], lines: _Body) -> None:
    """ValueError for 1.500 in a table with decimal commas: it may be 1500 or 1.5."""
    for column in columns:
        if column.dtype == object or column.dtype.name.startswith("str"):
            for row, cell in enumerate(column):
                if isinstance(cell, str) and re.fullmatch(r"[-+]?\d+\.\d+", cell.strip()):
                    raise ValueError(
                        f"line {lines.line(row)} has {cell!r} in a table with decimal commas: thousands='.' "
                        "(--thousands .) "
                        "reads a point between groups of three digits"
                    )


def _differences(file: Path, form: TextFormat) -> list[str]:
    """What was found that a plain CSV file does not have, so that a wrong guess is seen."""
    found = []
    if form.separator != ",":
        found.append(f"{SEPARATORS.get(str(form.separator), repr(form.separator))} as separator")
    if form.decimal == ",":
        found.append("decimal comma")
    if form.thousands:
        found.append(f"{form.thousands!r} between thousands")
    return [f"{file.name} was read with {', '.join(found)}."] if found else []
