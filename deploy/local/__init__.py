"""Private servers for tests, the demo and development: nothing else on the machine is touched.

with RabbitMQ() as broker, Redis() as store:
    print(broker.url, store.url)
"""

from deploy.local.failure import ServerError, ServersMissingError
from deploy.local.prometheus_server import Prometheus
from deploy.local.rabbitmq_server import RabbitMQ
from deploy.local.redis_server import Redis

__all__ = ["Prometheus", "RabbitMQ", "Redis", "ServerError", "ServersMissingError"]
