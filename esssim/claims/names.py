"""What people call a claim: its id, the beginning of one, or the statistic that it is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from esssim import _validate


@dataclass(frozen=True)
class Synonyms:
    """What a statistic is called, and the ids that are about it (searched for between slashes and dashes)."""

    key: str
    words: tuple[str, ...]
    in_ids: str


SYNONYMS = (
    Synonyms("minibatch_sharpness", ("MiniBS", "mini-batch sharpness", "minibatch sharpness", "M_b"), "minibs"),
    Synonyms("batch_sharpness", ("batch sharpness", "BS"), r"(?<!full-)batch-sharpness(?!-parts)"),
    Synonyms("batch_sharpness_parts", ("ratio of means", "batch sharpness parts"),
        "batch-sharpness-parts|ratio-of-means"),
    Synonyms("interaction_aware_sharpness", ("IAS", "interaction-aware sharpness"), "ias|interaction-aware-edge"),
    Synonyms("gradient_noise_interaction", ("GNI", "gradient-noise interaction"), "interaction-aware-edge"),
    Synonyms("mean_square_sharpness", ("Q_b", "Qb", "mean-square sharpness"), "mean-square"),
    Synonyms("mean_square_sharpness_gauss_newton", (), "mean-square-settles|returns/[^/]+/mean-square"),
    Synonyms("sharpness", ("λ_max", "lambda_max", "full-batch sharpness"),
             r"full-batch-sharpness|network-sharpness|returns/[^/]+/sharpness"),
)  # fmt: skip


def matching(name: str, ids: Iterable[str]) -> list[str]:
    """The ids that a name means: that id itself, those that begin with it up to a slash, or those of its statistic.

    Capitals, and a blank or an underscore for a dash, make no difference. Raises ValueError for an unknown name, with
    the nearest one.
    """
    ids = tuple(ids)
    plain = _plain(name).rstrip("/") if isinstance(name, str) else None
    if plain:
        found = [each for each in ids if same(name, each)]
        found = found or [each for each in ids if _plain(each).startswith(plain + "/")]
        found = found or [each for each in ids if _about(plain, each)]
        if found:
            return found
    families = dict.fromkeys(each.split("/")[0] for each in ids)
    beginnings = dict.fromkeys(start for each in ids for start in _beginnings(each))
    words = [word for each in SYNONYMS for word in each.words]
    _validate.choice("claim", name, tuple(dict.fromkeys([*families, *ids, *beginnings, *words])))
    raise ValueError(f"claim must be one of these {len(ids)}, none of which is about {name!r}")


def same(name: str, claim: str) -> bool:
    """Whether a name is this id, and no beginning of one."""
    return _plain(name).rstrip("/") == _plain(claim)


def _plain(name: str) -> str:
    return re.sub(r"[\s_]", "-", name.strip().casefold())


def _about(plain: str, claim: str) -> bool:
    return any(
        plain in map(_plain, (each.key, *each.words)) and re.search(f"(^|[-/])({each.in_ids})($|[-/])", claim)
        for each in SYNONYMS
    )


def _beginnings(claim: str) -> list[str]:
    parts = claim.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
