"""A simulator of the MMS API: an independent judge of whoever calls it.

`python -m loadtest.simulator --help` runs it as a process; `Simulator` (in `server`) inside the event loop of
a test; `SimulatorProcess` (in `process`) as a subprocess of a test or demo. It shares no code with the worker.
"""
