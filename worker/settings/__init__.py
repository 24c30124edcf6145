"""All settings of the worker, in one typed place; `load` is the way in."""

from worker.settings.accounts_file import AccountSettings
from worker.settings.changes import changed_settings
from worker.settings.loading import (
    SettingDoc,
    SettingsProblems,
    load,
    load_broker,
    load_receiver,
    settings_reference,
)
from worker.settings.model import BrokerSettings, ReceiverSettings, Settings

__all__ = [
    "AccountSettings",
    "BrokerSettings",
    "ReceiverSettings",
    "SettingDoc",
    "Settings",
    "SettingsProblems",
    "changed_settings",
    "load",
    "load_broker",
    "load_receiver",
    "settings_reference",
]
