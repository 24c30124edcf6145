"""What goes wrong with local servers, in one sentence for people."""


class ServerError(Exception):
    """A local server cannot be had, or did not do what it should; the text says which, and what to do."""


class ServersMissingError(ServerError):
    """There is no way to run the servers here yet; the text says what to install."""
