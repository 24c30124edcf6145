"""Where everything is: told to a peer by environment variables, since its framework owns the command line."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

PREFIX = "PEER_"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """`in_flight`: calls at a time of one process. `http`: the library that makes them."""

    amqp_url: str = field(repr=False)
    api_url: str
    ca_file: str
    app_key: str = field(repr=False)
    picture_file: str
    in_flight: int
    http: str

    def variables(self) -> dict[str, str]:
        """As environment variables."""
        return {PREFIX + one.name.upper(): str(getattr(self, one.name)) for one in fields(self)}

    @property
    def picture(self) -> bytes:
        """Read once, when the process starts."""
        return Path(self.picture_file).read_bytes()


def surroundings(variables: Mapping[str, str] = os.environ) -> Surroundings:
    """Read them. Raises KeyError when one is missing."""
    told = {one.name: variables[PREFIX + one.name.upper()] for one in fields(Surroundings)}
    return Surroundings(**{**told, "in_flight": int(told["in_flight"])})  # type: ignore[arg-type]  # all others are text
