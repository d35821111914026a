"""The HTTP ingest doors: guarded protocol class, routes, body reading, answers.

Promise: 200 only after the spool said durable; hostile bytes end in a 4xx with `{"detail": …}` and never in a 5xx; a
body that broke off is never spooled; nothing here waits for the worker. What was refused after authentication is told
to `Doors.refused` item by item.
"""
