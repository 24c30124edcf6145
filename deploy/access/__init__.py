"""Who may do what in the broker and in Redis, and the secrets by which each is known there.

`broker.py` and `store.py` say it; `deploy/rabbitmq/definitions.json` and `deploy/redis/users.acl` are made of them by
`python -m deploy.generate` and committed, without passwords: nobody can log in with them as they are. Passwords,
addresses and certificates of one installation are made by `python -m deploy.access FOLDER`.
"""
