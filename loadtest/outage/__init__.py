"""Let the API fall ill for half a minute under load, and see what that costs: jobs in doubt, and time to be back.

An outage is a scenario of its own: a virtual host, a Redis database, a simulator, and workers with a backlog that the
limit drains. Calls go out well, then the API refuses connections, answers 502, or does not answer at all; then it is
well again.
"""
