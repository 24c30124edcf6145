"""What people use today to keep a limit, and the strongest we could think of: consumers of their own, to compare with.

Each drains the same jobs from the same RabbitMQ, asks its limiter in the same Redis, and makes the same call to the
same simulator; the simulator's ledger is the judge. They run in an environment of their own (`.venv-rivals`), since
none of what they need is needed by anything of ours.
"""
