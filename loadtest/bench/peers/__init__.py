"""`peers`: our worker, what a Python team would pick instead, and the floor that nobody can fall below.

The same broker, simulator, picture and judge for all. Jobs are counted by the simulator's ledger, from 10 to 85 % of
them; processor time and memory are those of all of a contender's processes.
"""
