"""The simulator's settings, checked in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from loadtest.simulator.accounts import RATE_PER_S_MAX
from loadtest.simulator.callback_plan import CallbackPlan
from loadtest.simulator.envelopes import EnvelopeKind
from loadtest.simulator.limit import Window

PORT_MAX = 65_535
WAIT_MS_MAX = 3_600_000
KEEP_ALIVE_S_MIN = 0.01


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """All settings; ValueError with one sentence when one is out of range.

    `rate_per_s` counts calls of one account. `accounts` (APPKEY to rate) are then the only ones; without it any
    key is an account. `directory` is where ca.pem is, and its key for the next start; a temporary one when None.
    Port 0: any free one. `callbacks` are plans by APPKEY, in force from the start. Whoever reaches `control_host` can
    steer everything.
    """

    host: str = "127.0.0.1"
    port: int = 0
    control_host: str = "127.0.0.1"
    control_port: int = 0
    rate_per_s: int = 15
    window: Window = "rolling"
    burst: int | None = None
    count_refused: bool = False
    unlimited: bool = False
    latency_ms: float = 20.0
    latency_spread_ms: float = 10.0
    spread_ms: float = 0.0
    envelope: EnvelopeKind = "meta"
    accounts: Mapping[str, int] | None = None
    callbacks: Mapping[str, CallbackPlan] | None = None
    seed: int | None = None
    directory: Path | None = None
    keep_alive_s: float = 75.0

    def __post_init__(self) -> None:
        if self.window not in get_args(Window):
            raise ValueError(f"The window is rolling, calendar or bucket, not {self.window!r}.")
        if self.envelope not in get_args(EnvelopeKind):
            raise ValueError(f"The envelope is meta or error, not {self.envelope!r}.")
        if self.burst is not None and self.window != "bucket":
            raise ValueError("A burst goes with the bucket alone: choose --window bucket or leave --burst out.")
        for name, value, least, most in self._ranges():
            if not least <= value <= most:
                raise ValueError(f"The {name} is between {least:g} and {most:g}, not {value:g}.")

    def _ranges(self) -> list[tuple[str, float, float, float]]:
        rates = {"rate (calls)": self.rate_per_s, "burst (calls)": 1 if self.burst is None else self.burst}
        rates |= {f"rate of account {key!r} (calls)": rate for key, rate in (self.accounts or {}).items()}
        return [
            ("port", self.port, 0, PORT_MAX),
            ("control port", self.control_port, 0, PORT_MAX),
            *((name, rate, 1, RATE_PER_S_MAX) for name, rate in rates.items()),
            ("latency (ms)", self.latency_ms, 0, WAIT_MS_MAX),
            ("latency spread (ms)", self.latency_spread_ms, 0, WAIT_MS_MAX),
            ("spread (ms)", self.spread_ms, 0, WAIT_MS_MAX),
            ("keep-alive (s)", self.keep_alive_s, KEEP_ALIVE_S_MIN, WAIT_MS_MAX),
        ]
