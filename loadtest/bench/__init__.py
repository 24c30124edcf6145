"""Measurements that anyone can repeat on one machine: how well the limit is kept, and what a job costs.

`pace`: several workers with a backlog against a limit, judged by the simulator's ledger. `limit`: the same over all
ways to count, rates and jitters, with changes of the limit, and through what others use. `speed`: the limit lifted,
what a worker does in its steady state, and what a job costs each process. `peers`: that beside what others would pick,
and the floor. `capacity`: what the simulator and the producer do alone. `latency`: from a job to its call in an idle
system, and from a process's start to its first call. `memory`: what a worker holds while many jobs wait. All work from
outside, through the worker's fixed interfaces (settings, jobs, metrics), and import nothing of it.
"""
