"""Chaos: random faults under load, and the books after them.

Real servers, several workers, an API that counts, and faults drawn from a seed: workers are killed, frozen and
replaced, RabbitMQ and Redis are killed, stopped and cut off, the API fails in its ways. Then everything is well again,
the queues drain, and the books are closed: every job has one end, nobody got a message twice, and what is in doubt is
so for a fault. The simulator's ledger is the judge of what was sent.
"""
