"""`peers`: our worker, what a Python team would pick instead, and the floor: a job's parts as their libraries do them.

The same broker, simulator, picture and judge for all. Jobs are counted by the simulator's ledger, from 10 to 85 % of
them; processor time and memory are those of all of a contender's processes.
"""
