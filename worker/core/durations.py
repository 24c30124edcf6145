"""Spans of time as people type them: ``90s``, ``15m``, ``2h``, ``1d12h`` (pure)."""

from __future__ import annotations

import re

_UNITS_S = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_SHAPE = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")


def seconds_of(text: str) -> int | None:
    """The seconds that ``text`` names, or None: whole numbers with d, h, m or s, the greatest unit first."""
    parts = _SHAPE.fullmatch(text.strip().lower())
    if parts is None or not any(parts.groups()):
        return None
    return sum(int(number or 0) * unit_s for number, unit_s in zip(parts.groups(), _UNITS_S.values(), strict=True))
