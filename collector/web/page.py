"""The status page: one look at flow, ledger, issues and health. Jinja2 with autoescape; typed context."""

from importlib.resources import files
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined

_FOLDER = files("collector.web")
STYLE = (_FOLDER / "static" / "app.css").read_text(encoding="utf-8")
_PAGES = Environment(
    loader=DictLoader({"status.html": (_FOLDER / "templates" / "status.html").read_text(encoding="utf-8")}),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def human_bytes(count: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def human_seconds(seconds: float) -> str:
    """3700 -> "1 h 1 m"."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} m"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


_PAGES.filters["bytes"] = human_bytes
_PAGES.filters["seconds"] = human_seconds


def status_page(status: dict[str, Any]) -> str:
    """HTML of the status document."""
    return _PAGES.get_template("status.html").render(s=status)
