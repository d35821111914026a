"""The owner's doors: health for machines, metrics for Prometheus, a page for people, SQL for the owner's programs.

Promise: everything shown comes from one status document (the same that `collector status --json` prints); pages are
server-rendered, work without JavaScript, load nothing from elsewhere, and are answered to loopback clients only.
Probes (/healthz, /readyz, /metrics) hold no event data and answer anyone who reaches the port. SQL (/api/query/) is
answered to who presents the token, to nobody without one (collector.web.sql).
"""
