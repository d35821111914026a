"""A program with sentry-sdk: DSN as argument, prints what it sent."""

import asyncio
import json
import logging
import sys
import threading

import sentry_sdk
from flask import Flask
from sentry_sdk.crons import monitor
from sentry_sdk.integrations.asyncio import enable_asyncio_integration

sentry_sdk.init(
    dsn=sys.argv[1],
    release="shop@1.2.3",
    environment="test",
    traces_sample_rate=1.0,
    enable_logs=True,
    _experiments={"transport_compression_algo": sys.argv[2]},
)
SENT = []
transport = sentry_sdk.get_client().transport
deliver = transport.capture_envelope


def noting(envelope):
    SENT.extend([item.type, envelope.headers.get("event_id", "")] for item in envelope.items)
    deliver(envelope)


transport.capture_envelope = noting
app = Flask("shop")
failing_log = logging.getLogger("shop.stock")


@app.route("/buy/<item>")
def buy(item):
    with sentry_sdk.start_span(op="db", name="SELECT price"):
        pass
    return {}[item]


@app.route("/")
def index():
    return "open"


def in_a_thread():
    raise RuntimeError("the thread is broken")


async def in_a_task():
    raise LookupError("the task is broken")


async def main():
    enable_asyncio_integration()  # it patches the running loop
    await asyncio.gather(asyncio.create_task(in_a_task()), return_exceptions=True)


@monitor(monitor_slug="nightly", monitor_config={"schedule": {"type": "crontab", "value": "0 3 * * *"}})
def nightly():
    return None


@monitor(monitor_slug="hourly")
def hourly():
    raise TimeoutError("the job is broken")


client = app.test_client()
codes = [client.get("/").status_code, client.get("/buy/tea?size=2").status_code]

failing_log.error("stock of %s is %d", "tea", 17, extra={"shelf": "b2"})

sentry_sdk.logger.warning("low on {item}", item="cups", attributes={"tenant": "acme"})

thread = threading.Thread(target=in_a_thread)
thread.start()
thread.join()

asyncio.run(main())

nightly()
try:
    hourly()
except TimeoutError:
    pass

with sentry_sdk.new_scope() as scope:
    scope.set_user({"id": "u-7"})
    scope.set_tag("tenant", "acme")
    scope.add_attachment(
        bytes=b"line one\nline two\n\x00\xff", filename="state.bin", content_type="application/x-state"
    )
    sentry_sdk.capture_message("with a file", level="info")

sentry_sdk.get_isolation_scope().start_session(session_mode="application")
sentry_sdk.get_isolation_scope().end_session()

with sentry_sdk.start_transaction(op="task", name="restock"), sentry_sdk.start_span(op="rpc", name="ask supplier"):
    pass

sentry_sdk.metrics.count("sold", 3, attributes={"item": "tea"})
sentry_sdk.flush(20)
print(json.dumps({"sent": SENT, "codes": codes}))
