"""The load test: jobs on a schedule that waits for nobody, against the whole system, judged by the API's ledger.

What is to happen stands in `scenarios.toml` (`scenario.py`, `schedule.py`). `run.py` has it happen; `producer.py` is a
process of its own. Then the API's ledger and the stream of events are read (`ledger.py`, `events.py`), the books are
closed (`books.py`), and figures and claims are made of all that (`figures.py`, `claims.py`): a `Result` (`result.py`).
"""
