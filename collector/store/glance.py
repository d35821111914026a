"""A look at a data folder that no collector has open: the same figures as a running store's, read-only."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from collector.model.received import START, Position


def glance(data: Path) -> tuple[Position, dict[str, Any]]:
    """(committed position, {"ledger", "store"}) as the worker's heartbeat has them; zeros where nothing is yet.

    A state.sqlite that cannot be read counts as absent: the next start sets it aside and computes it again.
    """
    files = sorted((data / "segments").glob("*.duckdb")) if (data / "segments").is_dir() else []
    store = {"segments": len(files), "bytes": sum(path.stat().st_size for path in files), "events": 0, "issues": 0}
    ledger: dict[str, Any] = {"stored": 0, "summarised": 0, "evicted": 0, "dropped": {}, "received_before": 0}
    path = data / "state.sqlite"
    if not path.exists():
        return START, {"ledger": ledger, "store": store}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            meta = dict(connection.execute("SELECT key, value FROM meta").fetchall())
            counts = dict(connection.execute("SELECT key, quantity FROM ledger").fetchall())
            store["issues"] = connection.execute("SELECT count(*) FROM issues").fetchone()[0]
            store["events"] = connection.execute("SELECT coalesce(sum(events), 0) FROM segments").fetchone()[0]
    except sqlite3.Error:
        return START, {"ledger": ledger, "store": store}
    ledger.update({key: counts.get(key, 0) for key in ("stored", "summarised", "evicted")})
    ledger["dropped"] = {key[8:]: value for key, value in counts.items() if key.startswith("dropped:")}
    ledger["received_before"] = int(meta.get("epoch_base") or 0)
    position = Position(*(int(meta.get(f"mark_{part}") or 0) for part in ("epoch", "seq", "total")))
    return position, {"ledger": ledger, "store": store}
