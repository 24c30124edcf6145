"""Equal pictures are one in memory, for as long as somebody holds it."""

from __future__ import annotations

import gc

from tests.jobs import PNG
from worker.core.picture import Picture, PictureKind
from worker.flow.pictures import Pictures


def copy_of(data: bytes) -> Picture:
    return Picture(bytes(bytearray(data)), PictureKind.PNG)


def test_equal_ones_are_one_and_different_ones_are_not() -> None:
    pictures = Pictures()
    first = pictures.one_of(copy_of(PNG))
    assert pictures.one_of(copy_of(PNG)) is first
    assert pictures.one_of(copy_of(PNG + b"\0")) is not first


def test_none_is_kept_alive() -> None:
    pictures = Pictures()
    held = pictures.one_of(copy_of(PNG))
    assert len(pictures) == 1
    del held
    gc.collect()
    assert len(pictures) == 0
