"""What a run was measured on, and what was measured."""

import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def machine(quick: bool, repeats: int) -> dict[str, Any]:
    """Hardware, the disk under the folders of the run, the code, and how much was asked for. date: UTC."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    commit = _git("rev-parse", "--short", "HEAD")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "ram_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        **disk(Path(tempfile.gettempdir()).resolve()),
        "kernel": os.uname().release,
        "python": sys.version.split()[0],
        "load_before": round(os.getloadavg()[0], 2),
        "commit": commit,
        "commit_changed": bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        "quick": quick,
        "repeats": repeats,
    }


def _git(*command: str) -> str | None:
    """None where there is no git or no checkout."""
    try:
        done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def disk(folder: Path) -> dict[str, Any]:
    """file_system: of that folder; disk: its device and whether the kernel takes it for a rotating one. proc(5),
    mountinfo: mount point in field 5, the type and the source after the hyphen."""
    best: tuple[str, str, str, str] = ("", "unknown", "unknown", "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        _, _, number, _, point, *_ = fields.split()
        kind, source, *_ = rest.split()
        inside = folder == Path(point) or Path(point) in folder.parents
        if inside and len(point) >= len(best[0]):
            best = (point, kind, source, number)
    device = (Path("/sys/dev/block") / (best[3] or "none")).resolve()
    queues = [place / "queue/rotational" for place in (device, device.parent)]  # a partition has none of its own
    flags = [path.read_text().strip() for path in queues if path.is_file()]
    spins = {"0": " (not rotating)", "1": " (rotating, says the kernel)"}.get(flags[0], "") if flags else ""
    return {"file_system": best[1], "disk": best[2] + spins}
