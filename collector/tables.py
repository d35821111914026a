"""What the commands print for people: aligned plain text, the same on a terminal and in a pipe."""

from typing import Any

from collector.web.page import human_bytes, human_seconds


def status_text(document: dict[str, Any]) -> str:
    """The status document in a screenful."""
    ledger, spool, store, outbox = (document[key] for key in ("ledger", "spool", "store", "outbox"))
    state = "ready" if document["ready"] else "not ready"
    rows = [
        ("received", ledger["received"], "items"),
        ("stored", ledger["stored"], f"{human_bytes(store['bytes'])} in {store['segments']} segments"),
        ("summarised", ledger["summarised"], "counted, payload not kept"),
        ("in spool", ledger["in_spool"], human_bytes(spool["bytes"])),
        *((f"dropped {reason}", quantity, "") for reason, quantity in sorted(ledger["dropped"].items())),
        ("outbox", outbox["records"], f"{human_bytes(outbox['bytes'])}, {outbox['state']}"),
    ]
    for name, edge in ((document.get("hub") or {}).get("edges") or {}).items():
        rows.append((f"edge {name}", edge["occurrences"], f"in {edge['batches']} batches"))
    wide = max(len(name) for name, _, _ in rows)
    lines = [f"collector {document['version']}  {state}, up {human_seconds(document['uptime_seconds'])}"]
    lines += [f"  ! {problem}" for problem in document["problems"]]
    lines += [f"  {name:<{wide}}  {quantity:>10}  {note}".rstrip() for name, quantity, note in rows]
    return "\n".join(lines)
