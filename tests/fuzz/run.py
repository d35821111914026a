"""scripts/fuzz: every target for its share of the time; each on its own, so that one finding ends one target only.

With atheris (coverage-guided) where it is installed, else long random runs of Hypothesis. A finding is printed with the
bytes that cause it; exit code 1.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUND_EXAMPLES = 2000


def atheris_run(name: str, seconds: int, folder: Path) -> int:
    """One target in this process; libFuzzer ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["collector.protocol"]):
        from tests.fuzz.targets import TARGETS, WORDS
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, word in enumerate(WORDS):
        (corpus / f"word-{number}").write_bytes(word)
    words = folder / "words"
    words.write_text("".join('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in WORDS))
    options = [f"-max_total_time={seconds}", f"-dict={words}", f"-artifact_prefix={folder}/", "-max_len=4096",
               "-verbosity=0", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=1024"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()
    return 0


def hypothesis_run(name: str, seconds: float) -> int:
    """Rounds of random bodies until the time is over; how many bodies."""
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    from tests.fuzz.targets import TARGETS, WORDS

    bodies = st.lists(st.sampled_from(WORDS) | st.binary(max_size=16), max_size=20).map(b"".join)
    deadline, count = time.monotonic() + seconds, 0

    @settings(max_examples=ROUND_EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(bodies)
    def one(body: bytes) -> None:
        nonlocal count
        if time.monotonic() < deadline:
            count += 1
            TARGETS[name](body)

    while time.monotonic() < deadline:
        one()
    return count


def alone(name: str, engine: str, seconds: int, folder: Path) -> int:
    """One target in this process; what it writes goes to `folder`."""
    if engine == "atheris":
        return atheris_run(name, seconds, folder)
    print(f"{hypothesis_run(name, seconds)} bodies")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--target", action="append", help="only this one; may be repeated")
    parser.add_argument("--engine", choices=["atheris", "hypothesis"])
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    engine = args.engine or ("atheris" if importlib.util.find_spec("atheris") else "hypothesis")
    if args.alone:
        return alone(args.target[0], engine, round(args.minutes * 60), Path.cwd())
    from tests.fuzz.targets import TARGETS  # not above: atheris has to see its imports

    names = args.target or sorted(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(unknown)}; there are {', '.join(sorted(TARGETS))}")
    seconds = max(1, round(args.minutes * 60 / len(names)))
    failed = []
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for name in names:
        command = [sys.executable, "-P", "-m", "tests.fuzz.run", "--alone", "--engine", engine, "--target", name]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            command += ["--minutes", str(seconds / 60)]
            done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)
        said = (done.stdout + done.stderr).strip().splitlines()
        runs = [line.split()[-1] for line in said if "number_of_executed_units" in line]
        told = f"{runs[0]} bodies" if runs else said[-1] if said else ""
        print(f"{name:12} {engine} {seconds} s: {'ok, ' + told if done.returncode == 0 else 'FOUND'}", flush=True)
        if done.returncode:
            failed.append(name)
            print("\n".join(said[-40:]), file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
