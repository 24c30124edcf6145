"""Which settings differ from those that a worker runs with."""

from worker.settings.model import Settings


def changed_settings(running: Settings, loaded: Settings) -> tuple[str, ...]:
    """The variables whose values differ, in the order of the reference; the accounts are not looked at."""
    return tuple(
        f"MMS_{name.upper()}"
        for name in type(running).model_fields
        if name != "accounts" and getattr(running, name) != getattr(loaded, name)
    )
