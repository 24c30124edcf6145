"""How well the limit is used and kept: every way to count, rate and jitter; changes of the limit; and what others do.

`cells` says what is measured, `targets` what is expected, `figures` what the ledger says (all pure). `run` goes
through the parts: `grid`, `idle`, `changes`, `rivals`.
"""
