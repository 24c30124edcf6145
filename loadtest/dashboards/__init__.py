"""`make dashboards-check`: whether every panel of every dashboard shows something.

A scripted run with faults (real RabbitMQ, Redis, workers, receiver, simulator) is scraped by a real Prometheus with the
real rules; then each expression of each panel is asked. One that finds no series, or that is 0 all the time, fails the
check, unless the panel says why that must be so. The same data are drawn, so that people can see what it looks like.
"""
