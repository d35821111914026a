"""Merges and splits by hand: which issue the events with a hash join from now on. Stored events stay where they are.

`answer` takes {"do": "list", "project", "limit"}, {"do": "show", "issue"}, {"do": "merge", "into", "issues"},
{"do": "unmerge", "issue", "hashes", "into"} or {"do": "set", "status", "issues"}; issues are short ids (any case) or
ids, hashes may be cut short. What cannot be done is {"error": one sentence}.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from collector.store.statuses import PERSON, STATUSES
from collector.store.store import Store

MIN_PREFIX_CHARS = 4
FIELDS = "id, project_id, short_id, title, culprit, level, status, hash, count, users, first_seen, last_seen"

Row = dict[str, Any]


class Refused(ValueError):
    """A sentence that says what cannot be done."""


def answer(store: Store, body: Mapping[str, Any]) -> Row:
    """What one question or decision comes to. Raises Unavailable, Damaged as `Store.commit` does."""
    act = ACTS.get(str(body.get("do")))
    if act is None:
        return {"error": f"unknown action {body.get('do')!r}; there are {', '.join(ACTS)}"}
    try:
        return act(store, body)
    except Refused as refused:
        return {"error": str(refused)}


def _list(store: Store, body: Mapping[str, Any]) -> Row:
    rows = store.reads.ask_state(
        f"SELECT {FIELDS}, (SELECT count(*) FROM hashes WHERE issue_id = issues.id) AS hashes FROM issues"  # noqa: S608
        " WHERE $project IS NULL OR project_id = $project ORDER BY last_seen DESC LIMIT $limit",
        {"project": body.get("project"), "limit": body.get("limit", 50)},
    )
    return {"issues": rows}


def _show(store: Store, body: Mapping[str, Any]) -> Row:
    issue = _issue(store, body.get("issue"))
    return {"issue": issue, "hashes": _hashes(store, issue)}


def _merge(store: Store, body: Mapping[str, Any]) -> Row:
    into = _issue(store, body.get("into"))
    others = {one["id"]: one for one in (_issue(store, name) for name in body.get("issues") or ())}
    for other in others.values():
        if other["id"] == into["id"]:
            raise Refused(f"{into['short_id']} cannot be merged into itself")
        _check_project(into, other)
    if not others:
        raise Refused("name at least one issue to merge")
    moved = [
        {"hash": digest, "from": other["short_id"]} for other in others.values() for digest in _hashes(store, other)
    ]
    if moved:
        store.move_hashes(into["project_id"], [one["hash"] for one in moved], into["id"])
    return {"into": into["short_id"], "new": False, "moved": moved}


def _unmerge(store: Store, body: Mapping[str, Any]) -> Row:
    issue = _issue(store, body.get("issue"))
    known = _hashes(store, issue)
    digests = list(dict.fromkeys(_hash(issue, known, text) for text in body.get("hashes") or ()))
    if not digests:
        raise Refused("name at least one hash to take away")
    target = _issue(store, body["into"]) if body.get("into") else _origin(store, issue, digests)
    if target is not None and target["id"] == issue["id"]:
        raise Refused(f"the hashes are with {issue['short_id']} already")
    if target is None and len(digests) == len(known):
        raise Refused(f"these are all hashes of {issue['short_id']}: nothing would be split")
    moved = [{"hash": digest, "from": issue["short_id"]} for digest in digests]
    if target is not None:
        _check_project(issue, target)
        store.move_hashes(issue["project_id"], digests, target["id"])
        return {"into": target["short_id"], "new": False, "moved": moved}
    made = _issue(store, str(store.split_off(issue["id"], digests)))
    return {"into": made["short_id"], "new": True, "moved": moved}


def _set_status(store: Store, body: Mapping[str, Any]) -> Row:
    status = str(body.get("status"))
    if status not in STATUSES:
        raise Refused(f"{status!r} is no status; there are {', '.join(STATUSES)}")
    issues = {one["id"]: one for one in (_issue(store, name) for name in body.get("issues") or ())}
    if not issues:
        raise Refused("name at least one issue")
    changed = [one for one in issues.values() if one["status"] != status]
    if changed:
        store.set_statuses([(one["id"], status) for one in changed], PERSON)
    return {
        "issues": [{"short_id": one["short_id"], "before": one["status"], "status": status} for one in issues.values()]
    }


ACTS: dict[str, Callable[[Store, Mapping[str, Any]], Row]] = {
    "list": _list,
    "show": _show,
    "merge": _merge,
    "unmerge": _unmerge,
    "set": _set_status,
}


def _issue(store: Store, name: object) -> Row:
    text = str(name or "")
    by = "id = CAST($name AS INTEGER)" if text.isascii() and text.isdigit() else "upper(short_id) = upper($name)"
    found = store.reads.ask_state(f"SELECT {FIELDS} FROM issues WHERE {by}", {"name": text[:100]})  # noqa: S608
    if not found:
        raise Refused(f"there is no issue {text!r}")
    if len(found) > 1:
        ids = ", ".join(str(one["id"]) for one in found)
        raise Refused(f"{text!r} is the name of several issues; use an id: {ids}")
    return found[0]


def _hashes(store: Store, issue: Row) -> list[str]:
    rows = store.reads.ask_state("SELECT hash FROM hashes WHERE issue_id = $id ORDER BY hash", {"id": issue["id"]})
    return [str(row["hash"]) for row in rows]


def _hash(issue: Row, known: Sequence[str], text: object) -> str:
    """The hash of an issue that a text means, whole or by its beginning."""
    if text in known:
        return str(text)
    found = [digest for digest in known if digest.startswith(str(text).lower())]
    if len(found) == 1 and len(str(text)) >= MIN_PREFIX_CHARS:
        return found[0]
    why = "begins several hashes" if len(found) > 1 else "is too short for a hash" if found else "is no hash"
    raise Refused(f"{text!r} {why} of {issue['short_id']}; it has {', '.join(known) or 'none'}")


def _origin(store: Store, issue: Row, digests: Sequence[str]) -> Row | None:
    """The issue that was made for one of these hashes; None when this one was, or none."""
    made = [
        row
        for digest in digests
        for row in store.reads.ask_state(
            f"SELECT {FIELDS} FROM issues WHERE project_id = $project AND hash = $hash AND id <> $id",  # noqa: S608
            {"project": issue["project_id"], "hash": digest, "id": issue["id"]},
        )
    ]
    if len({row["id"] for row in made}) > 1:
        names = " and ".join(sorted({row["short_id"] for row in made}))
        raise Refused(f"these hashes come from {names}; unmerge them one after the other, or say into which")
    return made[0] if made else None


def _check_project(one: Row, other: Row) -> None:
    if one["project_id"] != other["project_id"]:
        raise Refused(f"{one['short_id']} and {other['short_id']} are issues of different projects")
