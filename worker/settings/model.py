"""The settings themselves: one field is one variable, `MMS_` and the field's name in capitals.

Made by `load`, which also checks how values relate, or by `load_broker`; reading nothing by themselves.
Secrets are SecretStr: no repr, log line or error shows them.
"""

from math import floor
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.settings.accounts_file import AccountSettings
from worker.settings.values import (
    AmqpUrl,
    ApiUrl,
    CaFile,
    FailpointSetting,
    Host,
    LogFormat,
    LogLevel,
    MediaHosts,
    Port,
    RedisUrl,
    Region,
    Seconds,
    SecondsOrNever,
    WholeSeconds,
)

DRAIN_MARGIN_S: Final = 5.0
LANES_PER_ACCOUNT: Final = 2
_AMQP_URL: Final = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
_REDIS_URL: Final = SecretStr("redis://127.0.0.1:6379/0")


def _longest_call(fields: dict[str, Any]) -> float:
    return float(fields["connect_timeout_s"] + fields["read_timeout_s"] + DRAIN_MARGIN_S)


class BrokerSettings(BaseSettings):
    """What it takes to publish jobs, and no more. Made by `load_broker`; reads nothing by itself."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    amqp_url: AmqpUrl = Field(_AMQP_URL, description="broker; amqps:// for TLS")
    amqp_ca_file: CaFile | None = Field(None, description="CA bundle to trust for the broker; never turned off")
    publish_timeout_s: Seconds = Field(10.0, description="how long the broker may take to confirm a publish")
    region: Region = Field("AU", description="how national numbers (04…) are read; any country code is taken")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  as above
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: no .env file, and no second reading of the environment."""
        return (init_settings,)


class Settings(BrokerSettings):
    """Valid settings. Made by `load`, which also checks the relations; reads nothing by itself."""

    redis_url: RedisUrl = Field(_REDIS_URL, description="limiter and journal; rediss:// for TLS, or unix://")
    redis_ca_file: CaFile | None = Field(None, description="CA bundle to trust for Redis; never turned off")
    redis_timeout_s: Seconds = Field(0.5, description="how long Redis may take; asked twice before sending stops")

    api_url: ApiUrl = Field(description="the API's base address, https only; calls go to {MMS_API_URL}/send-mms")
    api_ca_file: CaFile | None = Field(None, description="CA bundle to trust for the API; never turned off")
    api_keepalive_s: Seconds = Field(15.0, description="idle API connections are closed by us after this")
    connect_timeout_s: Seconds = Field(10.0, description="how long name look-up, connect and TLS may take")
    read_timeout_s: Seconds = Field(30.0, description="how long an answer may take; after it: in doubt")

    accounts: Annotated[tuple[AccountSettings, ...], Field(min_length=1)]
    recipients_per_call_max: int = Field(1_000, ge=1, le=1_000, description="1 turns batching off")
    calls_max: int = Field(
        64, ge=1, le=1_000, description="calls under way per account and process, with a connection each"
    )
    prefetch: int = Field(2_000, ge=1, le=10_000, description="deliveries held per queue, fewer if it is slow")
    held_bytes_max: int = Field(
        32_000_000,
        ge=16_000_000,
        le=64_000_000_000,
        description="bytes of jobs held per process, shared by its accounts",
    )
    hold_s_max: Seconds = Field(600.0, description="how long a delivery may wait here before it is put back")
    attempts_max: int = Field(8, ge=1, le=100, description="attempts before a job is dead-lettered")
    deduplication_s: WholeSeconds = Field(604_800, description="how long the id of a job is remembered")
    reports_s: WholeSeconds = Field(
        259_200, description="how long messages are remembered, so that reports and replies find their jobs"
    )
    media_hosts_allowed: MediaHosts = Field((), description="hosts or networks of media, with commas between")
    media_ca_file: CaFile | None = Field(None, description="CA bundle to trust when media is fetched")

    balance_low: float = Field(
        100.0, ge=0, le=1e9, allow_inf_nan=False, description="below so many MMS credits an account's balance is low"
    )

    admin_host: Host = Field("127.0.0.1", description="where /metrics, /healthz and /readyz are served")
    admin_port: Port = Field(9_464, description="their port; 0 takes any free one")
    drain_s_max: Seconds = Field(default_factory=_longest_call, description="how long SIGTERM waits for calls")
    log_level: LogLevel = Field("info", description="debug, info, warning or error")
    log_format: LogFormat = Field("json", description="json (one object a line) or console")
    failpoint: FailpointSetting | None = Field(
        None, description="for tests only: STEP, STEP:N or decode:MARKER, the worker kills itself there"
    )

    def prefetch_for(self, account: AccountSettings) -> int:
        """Deliveries to hold of each of the account's queues: `prefetch`, or fewer when the account is slow.

        The last delivery of a full lane waits until all before it were called, one a slot, and the account's
        lanes share its slots. At 0.1 calls per second, two lanes of 128 would hold it for 43 minutes: the
        broker would take it back, and no other worker could have it before. So no more are held than leave
        within `hold_s_max` when every job needs a call of its own. What is held is also what can share a call:
        such an account's calls carry fewer jobs than they might, which is better than jobs that go round in circles.
        """
        sent_while_held = floor(account.rate_per_s * self.hold_s_max / LANES_PER_ACCOUNT)
        return max(1, min(self.prefetch, sent_while_held))


class ReceiverSettings(Settings):
    """Valid settings of `receive`. Made by `load_receiver`; reads nothing by itself."""

    receive_host: Host = Field("127.0.0.1", description="where receive takes the vendor's callbacks")
    receive_port: Port = Field(8_080, description="their port; 0 takes any free one")
    receive_cert_file: Path | None = Field(
        None, description="certificate that receive shows (PEM, with those in between); none: a proxy does TLS"
    )
    receive_key_file: Path | None = Field(
        None, description="key to the certificate (PEM); none: it is in the same file"
    )
    replies_poll_s: SecondsOrNever = Field(30.0, description="how often receive asks for replies; 0 turns it off")
