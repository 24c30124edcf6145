"""What ends a measurement without a figure."""

from loadtest.failure import LoadTestError


class NotMeasuredError(LoadTestError):
    """Everything was set up, and yet there is no figure to tell; the text says why."""
