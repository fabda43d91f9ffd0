"""Settings of Celery's workers: `celery -A dagster_celery.app worker` finds them in the folder that it is started in."""

import os

broker_url = result_backend = os.environ["CELERY_BROKER"]
worker_prefetch_multiplier = 1  # a task that waits behind another one's run waits though another worker is free
worker_max_tasks_per_child = 1  # a process has the code that it began with: each run gets a new one
broker_transport_options = {"visibility_timeout": 7200}  # longer than any run: a task is not delivered twice
