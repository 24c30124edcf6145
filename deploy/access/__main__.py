"""`python -m deploy.access FOLDER`: passwords, addresses and certificates of one installation."""

import argparse
from pathlib import Path

from deploy.access.installation import Hosts, prepare

_MADE = """\
what it puts there (passwords, keys and certificates that exist are kept; remove a file to have it made anew, and all
that holds it with it; without one of the certificates all of them are made anew):
  NAME.broker-password, NAME.redis-password    worker, receiver, upstream, operator, monitor
  amqp-url.NAME, redis-url.NAME                for MMS_AMQP_URL_FILE and MMS_REDIS_URL_FILE
  definitions.json, users.acl                  for RabbitMQ (load_definitions) and Redis (aclfile)
  ca.pem, rabbitmq.pem + .key, redis.pem + .key, receiver.pem + .key
  app-key, callback-token, grafana.password, simulator-callbacks.json
"""


def main() -> None:
    """Make what is missing."""
    defaults = Hosts()
    parser = argparse.ArgumentParser(
        prog="python -m deploy.access",
        description="Make passwords, addresses and certificates of one installation.",
        epilog=_MADE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    for name, default in (("broker", defaults.broker), ("redis", defaults.store), ("receiver", defaults.receiver)):
        parser.add_argument(f"--{name}-host", default=default, metavar="HOST:PORT", help="default: %(default)s")
    parser.add_argument("--account", default="default", help="whose callbacks they are (default: %(default)s)")
    options = parser.parse_args()
    hosts = Hosts(options.broker_host, options.redis_host, options.receiver_host)
    prepare(options.folder, hosts, account=options.account)
    print(f"{options.folder} holds the secrets of this installation.")


if __name__ == "__main__":
    main()
