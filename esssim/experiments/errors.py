"""What is wrong with a configuration, in one sentence: the key, what it was, what it may be, and the nearest key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from functools import wraps
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from esssim._validate import SHOWN_NAMES, shown

Path = tuple[str | int, ...]
Class = TypeVar("Class", bound=type)

# The type of an error of pydantic -> what the value must be.
MUST_BE = {
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "tuple_type": "must be a list",
    "model_type": "must be a table of keys",
    "model_attributes_type": "must be a table of keys",
}
# The same, with what pydantic says of the limit.
LIMITS = {
    "greater_than_equal": ("must be at least {:g}", "ge"),
    "greater_than": ("must be above {:g}", "gt"),
    "less_than_equal": ("must be at most {:g}", "le"),
    "less_than": ("must be below {:g}", "lt"),
    "literal_error": ("must be {}", "expected"),
    "too_short": ("must have at least {} entries", "min_length"),
}


class ConfigurationError(ValueError):
    """A configuration that cannot be run: the path of the key, and what is wrong with it in words."""

    def __init__(self, path: Path, words: str, where: str = "") -> None:
        self.path, self.words = path, words
        name = dotted(path)
        super().__init__(": ".join(filter(None, (where, f"{name} {words}" if name else words))))


def dotted(path: Path) -> str:
    """("dynamics", "step_size", "from") as one word."""
    return ".".join(map(str, path))


def refused(path: Path, words: str) -> PydanticCustomError:
    """What a validator raises that looks at several keys: `path` is the one to change."""
    return PydanticCustomError("refused", "refused", {"path": path, "words": words})


def check_batch(batch_size: int, n_samples: int) -> None:
    """Refuse a batch of more samples than there are."""
    if batch_size > n_samples:
        raise refused(("batch_size",), f"must be between 1 and n_samples = {n_samples}, got {batch_size}")


def unknown(key: str, known: Iterable[str]) -> str:
    """The words for a key that there is not."""
    names = tuple(known)
    nearest = get_close_matches(key, names, n=1)
    if nearest:
        return f"is unknown; did you mean {nearest[0]!r}?"
    listed = ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
    return f"is unknown; there are {listed}" if names else "is unknown"


def explained(error: ValidationError, given: Mapping[str, Any], known: Iterable[str] = ()) -> ConfigurationError:
    """The first error of a configuration. known: the keys at its top, for the nearest to an unknown one."""
    # What is unknown comes first: that a key is missing is often the same mistake.
    first = min(error.errors(include_url=False), key=lambda each: each["type"] == "missing")
    path = _path(first, given, tuple(known))
    extra = first.get("ctx", {})
    if first["type"] == "refused":
        return ConfigurationError((*path, *extra["path"]), extra["words"])
    return ConfigurationError(path, _words(first, extra, known))


def _path(error: ErrorDetails, given: Mapping[str, Any], known: Sequence[str]) -> Path:
    """The keys from the top to the error, without the names of alternatives that pydantic puts between them."""
    path: list[str | int] = []
    inside: Any = given
    for part in error["loc"]:
        if inside is given and isinstance(part, int):  # an argument by position
            part = known[part]
        if isinstance(inside, Mapping) and (part in inside or _is_missing(error, part)):
            inside = inside.get(part)
            path.append(part)
        elif isinstance(inside, list | tuple) and isinstance(part, int):
            inside = inside[part]
            path.append(part)
    return tuple(path)


def _is_missing(error: ErrorDetails, part: str | int) -> bool:
    return error["type"] in ("missing", "missing_argument") and part == error["loc"][-1]


def _words(error: ErrorDetails, extra: Mapping[str, Any], known: Iterable[str]) -> str:
    kind, got = error["type"], f", got {shown(error['input'])}"
    if kind in ("missing", "missing_argument"):
        return "is missing"
    if kind in ("unexpected_keyword_argument", "extra_forbidden"):
        return unknown(str(error["loc"][-1]), known)
    if kind == "value_error":
        return str(extra["error"])
    if kind in LIMITS:
        words, limit = LIMITS[kind]
        return words.format(extra[limit]) + got
    return MUST_BE.get(kind, str(error["msg"])) + got


def in_plain_words(cls: Class) -> Class:
    """A validated dataclass whose errors are `ConfigurationError`s."""
    changed: Any = cls
    validated: Callable[..., None] = changed.__init__

    @wraps(validated)
    def construct(self: Any, *arguments: Any, **options: Any) -> None:
        names = [field.name for field in fields(cls)]
        try:
            validated(self, *arguments, **options)
        except ValidationError as error:
            given = dict(zip(names, arguments, strict=False)) | options
            raise explained(error, given, names) from None

    changed.__init__ = construct
    return cls
