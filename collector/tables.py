"""What the commands print for people: rich tables, plain text when not on a terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table

from collector.web.page import human_bytes, human_seconds


def print_status(document: dict[str, Any]) -> None:
    """The status document as two short tables and a list of problems."""
    console = Console(highlight=False)
    ledger, spool, store, outbox = (document[key] for key in ("ledger", "spool", "store", "outbox"))
    state = "ready" if document["ready"] else "not ready"
    console.print(
        f"[bold]collector {document['version']}[/bold] {state}, up {human_seconds(document['uptime_seconds'])}"
    )
    for problem in document["problems"]:
        console.print(f"  ! {problem}", style="red", markup=False)
    rows = [
        ("received", ledger["received"], "items"),
        ("stored", ledger["stored"], f"{human_bytes(store['bytes'])} in {store['segments']} segments"),
        ("summarised", ledger["summarised"], "counted, payload not kept"),
        ("in spool", ledger["in_spool"], human_bytes(spool["bytes"])),
        *((f"dropped {reason}", quantity, "") for reason, quantity in sorted(ledger["dropped"].items())),
        ("outbox", outbox["records"], f"{human_bytes(outbox['bytes'])}, {outbox['state']}"),
    ]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for name, quantity, note in rows:
        table.add_row(name, str(quantity), note)
    console.print(table)
