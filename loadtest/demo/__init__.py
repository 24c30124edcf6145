"""The main job in one command: servers, simulator, workers and a receiver on this machine, and the books at the end.

The demo works from outside: it knows the worker's fixed interfaces (settings, jobs, events, queues) and imports
nothing of it.
"""
