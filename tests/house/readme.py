"""The generated parts of the README. Refresh them with: .venv/bin/python -m tests.house.readme"""

import argparse
import re
from pathlib import Path

from collector.cli import parser
from collector.query.derived import ALL_VIEWS
from tests.conformance.differences import BY_DESIGN, OPEN

README = Path(__file__).parents[2] / "README.md"


def commands() -> str:
    """One row a command, with its options."""
    actions = [action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)]
    rows = ["| command | what it does | options |", "|---|---|---|"]
    shared = {"--help", "--config", "--data-dir"}
    for name, sub in actions[0].choices.items():
        options = [max(a.option_strings, key=len) for a in sub._actions if a.option_strings]
        own = [f"`{option}`" for option in options if option not in shared]
        places = " ".join(str(a.metavar or a.dest).upper() for a in sub._actions if not a.option_strings)
        call = f"collector {name} {places}".strip()
        rows.append(f"| `{call}` | {sub.description} | {' '.join(own)} |")
    return "\n".join(rows)


def views() -> str:
    """One table a view."""
    parts = []
    for view in ALL_VIEWS:
        rows = [f"**`{view.name}`**: {view.meaning}", "", "| column | type | meaning |", "|---|---|---|"]
        rows += [f"| `{c.name}` | {c.type} | {c.meaning.replace('|', chr(92) + '|')} |" for c in view.columns]
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def differences() -> str:
    """One row a case of the protocol that we answer differently, by design or not yet."""
    rows = ["| case | how it is here |", "|---|---|"]
    rows += [f"| {case_id} | {reason} |" for case_id, reason in (BY_DESIGN | OPEN).items()]
    return "\n".join(rows)


PARTS = {"commands": commands, "views": views, "differences": differences}


def part(text: str, name: str) -> str:
    """What stands between the marks of a generated part."""
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- /{name} -->", text, re.DOTALL)
    assert found, f"README.md has no part {name}"
    return found[1]


def refreshed(text: str) -> str:
    """The README with all generated parts made anew."""
    for name, make in PARTS.items():
        text = text.replace(f"-->\n{part(text, name)}\n<!--", f"-->\n{make()}\n<!--")
    return text


if __name__ == "__main__":
    README.write_text(refreshed(README.read_text()))
