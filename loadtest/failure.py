"""What stops the demo or a measurement, in one sentence for people."""


class LoadTestError(Exception):
    """It cannot go on; the text says what is wrong and what to do, and may end with the tail of a log."""
