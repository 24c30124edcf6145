"""Kill a worker at each step of a job's way, let another one go on, and close the books.

A kill is a scenario of its own: a virtual host, a Redis database and an API key, a worker that kills itself
(`MMS_FAILPOINT`), and its heir. *Quiet*: one call's jobs, and nobody but the victim is there when it dies, so that what
is found then is exactly what the step stands for. *Loaded*: both workers are busy with calls of several jobs.
"""
