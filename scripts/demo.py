"""A small failing shop with the real SDK, a collector, and kent as the upstream Sentry. Ends everything it started."""

import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
WINDOW_SECONDS = 5

SHOP = """
import sys, sentry_sdk
from flask import Flask
sentry_sdk.init(dsn=sys.argv[1], release="shop@2.14.3", environment="demo", send_default_pii=True)
app = Flask(__name__)
STOCK = {"tea": 3, "cup": 0}

def price(item, password="hunter2"):
    return {"tea": 4.5}[item]

@app.get("/buy/<item>/<int:count>")
def buy(item, count):
    sentry_sdk.set_user({"id": f"customer-{count % 4}"})
    sentry_sdk.set_tag("tenant", f"t{count % 3}")
    if count > STOCK.get(item, 0):
        raise RuntimeError(f"cannot sell {count} of {item}: only {STOCK.get(item, 0)} left")
    return {"total": price(item) * count}

client = app.test_client()
for path in ["/buy/tea/1", "/buy/spoon/0"] + [f"/buy/tea/{n}" for n in range(4, 24)] + ["/buy/cup/0"] * 5:
    client.get(path)
sentry_sdk.flush(10)
"""


def free_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(*command: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)
        if process.stdout:
            process.stdout.close()


def get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.load(answer)


def until(claim: Any, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if found := claim():
                return found
        time.sleep(0.1)
    sys.exit("demo: nothing happened in time")


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def main(folder: Path) -> None:
    started = time.monotonic()
    kent = f"127.0.0.1:{free_port()}"
    config = folder / "collector.toml"
    config.write_text(
        f'[listen]\naddress = "127.0.0.1:{free_port()}"\n[upstream]\ndsn = "http://demo@{kent}/1"\n'
        f'window = "{WINDOW_SECONDS} s"\n'
    )
    collector = str(BIN / "collector")
    heading("1. kent (the upstream Sentry of this demo) and a collector")
    with (
        running(str(BIN / "kent-server"), "run", "--host", "127.0.0.1", "--port", kent.split(":")[1]),
        running(collector, "serve", "--config", str(config)) as served,
    ):
        assert served.stdout
        dsn = next(line.split()[1] for line in served.stdout if line.startswith("DSN "))
        until(lambda: get(f"http://{kent}/api/eventlist/") is not None)
        print(f"kent http://{kent}/   DSN {dsn}")
        heading("2. a failing shop: Flask and the real sentry-sdk, 28 requests")
        shop = folder / "shop.py"
        shop.write_text(SHOP)
        subprocess.run([sys.executable, str(shop), dsn], check=True, stderr=subprocess.DEVNULL)

        def query(sql: str) -> None:
            print(f'$ collector query "{sql}"', flush=True)
            subprocess.run([collector, "query", "--config", str(config), sql], check=True)

        def status() -> Any:
            done = subprocess.run(
                [collector, "status", "--config", str(config), "--json"], capture_output=True, text=True
            )
            return json.loads(done.stdout)

        until(lambda: status()["ledger"]["in_spool"] == 0 and status()["ledger"]["stored"] > 0)
        heading("3. issues, and SQL over the full events")
        query("SELECT short_id, title, culprit, count, users FROM issues ORDER BY count DESC")
        query(
            "SELECT tags->>'tenant' AS tenant, count(*) AS errors FROM events GROUP BY tenant ORDER BY tenant"
        )
        heading(f"4. what kent received: first events at once, one summary per issue and window of {WINDOW_SECONDS} s")

        def summaries() -> list[Any]:
            ids = [row["event_id"] for row in get(f"http://{kent}/api/eventlist/")["events"]]
            bodies = [get(f"http://{kent}/api/event/{event_id}")["payload"]["body"] for event_id in ids]
            found = [body for body in bodies if isinstance(body, dict) and "exception" in body]
            counts = [body.get("contexts", {}).get("collector", {}).get("count", 1) for body in found]
            return found if sum(counts) == 26 else []

        for body in reversed(until(summaries)):
            error = body["exception"]["values"][-1]
            stands_for = body.get("contexts", {}).get("collector", {}).get("count", 1)
            print(f"{stands_for:>4} x {error['type']}: {error['value']}")
        ledger = status()["ledger"]
        heading("5. the ledger")
        print(json.dumps(ledger))
        print(f"\n{time.monotonic() - started:.0f} s in all.")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="collector-demo-") as where:
        main(Path(where))
