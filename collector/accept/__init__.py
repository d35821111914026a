"""The HTTP ingest doors: guarded protocol class, routes, body reading, answers.

Promise: 200 only after the spool said durable; hostile bytes end in a 4xx with `{"detail": …}` and never in a 5xx; a
body that broke off is never spooled; nothing here waits for the worker. What was refused after authentication is told
to `Doors.refused` item by item.
"""

from collector.accept.doors import Doors
from collector.accept.guard import guarded, uvicorn_settings
from collector.accept.ingest import build_ingest
from collector.accept.pressure import MemoryPressure
from collector.accept.settings import IngestSettings

__all__ = ["Doors", "IngestSettings", "MemoryPressure", "build_ingest", "guarded", "uvicorn_settings"]
