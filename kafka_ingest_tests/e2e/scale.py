"""How much the fault tests try: a selection of minutes in every check, all of it in `make faults-full`."""

from __future__ import annotations

import os

IS_FULL = os.environ.get("KAFKA_INGEST_FAULTS") == "full"
DATABASES = ["mysql", "mariadb"] if IS_FULL else ["mysql"]
"""What does not differ between the two servers is tried on one."""
