"""The whole system on one machine, in the background: `make up`, `make down`.

With a Docker engine it is `deploy/compose.yaml`; without one, private servers of this machine with the same users,
rights and certificates (`native.py`), which a process of ours keeps (`keeping.py`).
"""
