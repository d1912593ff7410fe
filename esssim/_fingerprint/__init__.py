"""One fingerprint for all that decides numbers: data and options, code, and what the code reads.

Equal things have equal fingerprints in every process, whatever the hash seed, the machine and pickling. Whatever can
change a number changes the fingerprint; what cannot be looked into is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# The handlers register themselves.
from esssim._fingerprint import code as code
from esssim._fingerprint import values as values
from esssim._fingerprint.walk import Unfingerprintable, Walk, attributes

__all__ = ["Unfingerprintable", "attributes", "fingerprint", "fingerprint_or_reason", "fingerprints"]


def fingerprint(thing: Any, name: str = "value", *, arguments: Iterable[Any] = ()) -> str:
    """SHA-256 of `thing`: values, types, classes, functions with closures, defaults and the globals that they read.

    arguments: objects inside whose values are not part of it, such as the parameters that θ replaces. Things of an
    installed package count by name and version, one's own code by its bytecode, so that another minor version of Python
    may give another fingerprint. Raises `Unfingerprintable`, a ValueError, with the path from `name` to what is opaque.
    """
    walk = Walk(arguments)
    try:
        walk.into(name, thing)
    except RecursionError:
        raise Unfingerprintable(name, "is nested too deeply") from None
    return walk.digest()


def fingerprints(parts: Mapping[str, Any], name: str, *, arguments: Iterable[Any] = ()) -> dict[str, str]:
    """The fingerprint of each part of `name`: they show what differs, and not only that something does."""
    held = list(arguments)
    return {part: fingerprint(thing, f"{name}.{part}", arguments=held) for part, thing in sorted(parts.items())}


def fingerprint_or_reason(thing: Any) -> str:
    """`thing.fingerprint`, or "none: " and the reason why there is none: for records that can live without."""
    try:
        return str(thing.fingerprint)
    except Unfingerprintable as error:
        return f"none: {error}"
