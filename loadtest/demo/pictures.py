"""The pictures that are sent: real files, shipped beside this package."""

import base64
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "pictures"
NAMES = ("parcel.png", "van.jpg", "logo.gif")


@dataclass(frozen=True, slots=True)
class SamplePicture:
    """A picture as jobs carry it (`data`, base64) and as the ledger knows it (`sha256`, hex)."""

    name: str
    data: str = field(repr=False)
    sha256: str


def sample_pictures() -> tuple[SamplePicture, ...]:
    """A PNG, a JPEG and a GIF. Raises OSError when the repository is not whole."""
    return tuple(_sample(name, (FOLDER / name).read_bytes()) for name in NAMES)


def _sample(name: str, content: bytes) -> SamplePicture:
    return SamplePicture(name, base64.b64encode(content).decode(), hashlib.sha256(content).hexdigest())
