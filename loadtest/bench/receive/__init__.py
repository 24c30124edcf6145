"""What a receiver takes: report callbacks over TLS, each an event that the broker confirmed; and a flood of guesses.

`lines` posts over connections that stay open, at little cost. `callbacks` measures how many are taken in a second,
`flood` what guesses at the address do to the pace of a worker that sends beside it.
"""
