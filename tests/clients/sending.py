"""Running client programs, and what they say they sent."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.running import Collector, balanced

HERE = Path(__file__).parent
PACKAGES = HERE / "node_modules"
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="no Node on this machine (package nodejs)")
needs_packages = pytest.mark.skipif(
    not (PACKAGES / ".made").exists(), reason="the npm packages are not installed (scripts/clients)"
)


def run(*command: str, cwd: Path = HERE, environ: dict[str, str] | None = None, code: int = 0) -> str:
    """The stdout of a program that is to end with `code`. No SENTRY_* of the machine gets in."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SENTRY_")}
    done = subprocess.run(
        command, cwd=cwd, env={**clean, **(environ or {})}, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def told(stdout: str) -> dict[str, Any]:
    """The last line of a client program: JSON with `sent`, [type, event id] of each item of each envelope, and more."""
    document: dict[str, Any] = json.loads(stdout.splitlines()[-1])
    return document


def counted(sent: list[list[str]]) -> dict[str, int]:
    """Items by type, of what a client says it sent."""
    kinds = [kind for kind, _ in sent]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


COUNTS = """SELECT project_id, kind, count(*) AS n FROM items GROUP BY ALL UNION ALL
  SELECT project_id, CASE type WHEN 'feedback' THEN 'feedback' ELSE 'event' END, count(*) FROM events GROUP BY ALL"""


# What is asked of a program that uses all an SDK has.
PARTS = {
    **{view: f"SELECT * FROM {view}" for view in (
        "events", "issues", "transactions", "spans", "logs", "sessions", "check_ins")},
    "attachments": "SELECT a.*, i.payload FROM attachments a, items i WHERE i.kind = 'attachment'",
    "metrics": "SELECT payload FROM items WHERE kind = 'trace_metric'",
}  # fmt: skip


class Seen:
    """What a collector has after a client program ended: its ledger, and rows of views by name."""

    def __init__(self, running: Collector, told: dict[str, Any], **parts: str) -> None:
        self.told = told
        self.ledger: dict[str, Any] = running.drained()["ledger"]
        self.rows = self._rows(running, {"counts": COUNTS, **parts})
        self.stored = self.stored_in(running.project)

    def stored_in(self, project_id: int) -> dict[str, int]:
        """Items by type that a project has in the store."""
        return {row["kind"]: row["n"] for row in self.rows["counts"] if row["project_id"] == project_id}

    def one(self, part: str, **values: Any) -> dict[str, Any]:
        """The only row with these values."""
        fitting = [row for row in self.rows[part] if values.items() <= row.items()]
        assert len(fitting) == 1, f"{len(fitting)} rows of {part} have {values}: {self.rows[part]}"
        return fitting[0]

    def assert_complete(self) -> None:
        """Everything sent is stored, and the ledger says just that."""
        sent = self.told["sent"]
        assert self.stored == counted(sent)
        assert balanced(self.ledger)
        figures = {name: self.ledger[name] for name in ("received", "stored", "dropped", "in_spool")}
        assert figures == {"received": len(sent), "stored": len(sent), "dropped": {}, "in_spool": 0}

    @staticmethod
    def _rows(running: Collector, parts: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
        """All parts in one query: a command starts slowly."""
        wrapped = [
            f"SELECT '{part}' AS part, to_json(t)::VARCHAR AS line FROM ({sql}) t" for part, sql in parts.items()
        ]
        rows: dict[str, list[dict[str, Any]]] = {part: [] for part in parts}
        for row in running.query(" UNION ALL ".join(wrapped)):
            rows[row["part"]].append(json.loads(row["line"]))
        return rows
