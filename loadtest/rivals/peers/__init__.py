"""What a Python team would pick instead: whole pipelines, each written as its documentation has it.

Each takes the same jobs from the same RabbitMQ, posts the same form with the same picture to the same simulator,
publishes what came of it (persistent, confirmed), and then acknowledges the job. None keeps a limit, a journal or
metrics, or fetches its pictures. Their processes run in `.venv-rivals`; `catalogue` needs the standard library only.
"""
