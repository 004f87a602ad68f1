"""Celery's settings. Messages carry no work, so losing or doubling one does no harm."""

from __future__ import annotations

from django.conf import settings

broker_url = settings.REDIS_URL
broker_connection_retry_on_startup = True
broker_connection_max_retries = None
broker_transport_options = {
    "visibility_timeout": 3600,
    "socket_timeout": 30,
    "socket_keepalive": True,
    "health_check_interval": 10,
}
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
task_acks_late = True
task_reject_on_worker_lost = False  # the sweeper requeues by lease; the message is only a bell
worker_prefetch_multiplier = 1
worker_max_tasks_per_child = 1000
worker_hijack_root_logger = False
task_soft_time_limit = 3300
task_time_limit = 3400
beat_schedule = {
    "sweep": {
        "task": "paysage.sweep",
        "schedule": float(settings.SWEEP_S),
        "options": {"queue": "hooks", "expires": settings.SWEEP_S},  # parsing may take minutes
    },
    "expire": {
        "task": "paysage.expire",
        "schedule": 600.0,
        "options": {"queue": "hooks", "expires": 600},
    },
    "indexes": {
        "task": "paysage.indexes",
        "schedule": 300.0,
        "options": {"queue": "releases", "expires": 300},  # minutes, which uploads are not to wait
    },
    "statistics": {
        "task": "paysage.statistics",
        "schedule": float(settings.STATISTICS_S),
        "options": {"queue": "releases", "expires": settings.STATISTICS_S},
    },
    "hooks": {
        "task": "paysage.hooks",
        "schedule": float(settings.SWEEP_S),
        "options": {"queue": "hooks", "expires": settings.SWEEP_S},
    },
}
