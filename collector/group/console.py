"""What `collector group` and `collector rules` answer: text lines in, text lines out; no arguments, no printing.

The line formats are interfaces:

- an event is `{...}` or `{"id", "event", "stack_trace_rules", "fingerprint_rules", "config"}`, all but event optional;
  rules are text, or a list in the JSON form. Its answer is `{"id", "config", "variants": {NAME: {"hash",
  "contributes"}}, "hashes", "fingerprint", "title", "culprit"}`, or `{"id", "error"}`.
- a question about rules is `{"id", "rules", "platform", "frames", "exception", "contributes_before"}` with the answer
  `{"frames": [{"in_app", "category"}], "contributes", "stacktrace_contributes"}`, or `{"parse": rule}` with
  `{"valid", "error"}`. Rules may be `builtin:SET`.
- an expectation is an event line with `"expect"`: any of hashes, fingerprint, title, culprit, in_app (of the last
  stack), same_as (id of an earlier line that must share an issue) and differs_from.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import Struct

from collector.errors import ConfigError
from collector.group.engine import About
from collector.group.explain import explain
from collector.group.facts import Facts
from collector.group.fingerprint import FingerprintRules
from collector.group.frame import look_at
from collector.group.grouping import GROUPING_CONFIGS, group
from collector.group.parameterize import replace_variable_parts
from collector.group.rules import BUILT_IN_SETS, StackRules, built_in_text
from collector.group.settings import DEFAULT_CONFIG
from collector.group.syntax import RuleError
from collector.group.view import View, decode, lenient
from collector.model.event import GroupingResult

BUILT_IN = "builtin:"
MAX_REMEMBERED_RULES = 64


class Options(Struct, frozen=True):
    """What holds for every line that does not say otherwise. Rules are text.

    normalise: makes a normalised event of one as sent (both JSON); None: events come normalised.
    """

    config: str = DEFAULT_CONFIG
    stack_trace_rules: str = ""
    fingerprint_rules: str = ""
    normalise: Callable[[bytes], bytes] | None = None


class Case(NamedTuple):
    """One event with what it is grouped by."""

    id: object
    view: View
    config: str
    rules: StackRules
    fingerprints: FingerprintRules
    expect: dict[str, Any]


class Checked(NamedTuple):
    """One line of a test report and whether it reports a success."""

    ok: bool
    line: str


@lru_cache(maxsize=MAX_REMEMBERED_RULES)
def _stack_rules(text: str) -> StackRules:
    return StackRules(built_in_text(text.removeprefix(BUILT_IN)) if text.startswith(BUILT_IN) else text)


@lru_cache(maxsize=MAX_REMEMBERED_RULES)
def _fingerprint_rules(text: str) -> FingerprintRules:
    return FingerprintRules(text)


def documents(lines: Iterable[str]) -> Iterator[Any]:
    """The JSON documents of a text: one a line, or one over all lines. Raises ValueError for what is no JSON."""
    source = (line for line in lines if line.strip())
    for line in source:
        try:
            found = json.loads(line)
        except ValueError:
            found = json.loads("\n".join([line, *source]))
        yield found


def case_of(found: Any, options: Options) -> Case:
    """The case that a document states. Raises ValueError (RuleError for broken rules) with what is wrong."""
    if not isinstance(found, dict):
        raise ValueError("an event is a JSON object")
    outer = found if isinstance(found.get("event"), dict) else {"event": found, "id": found.get("event_id")}
    config = outer.get("config") or options.config
    if config not in GROUPING_CONFIGS:
        raise ValueError(f"unknown config {config!r}; there are {', '.join(GROUPING_CONFIGS)}")
    event = outer["event"]
    if options.normalise is not None:
        view = decode(options.normalise(json.dumps(event).encode("utf-8", "replace")))
    else:
        view = lenient(event)
    fingerprints: Any = outer.get("fingerprint_rules")
    return Case(
        id=outer.get("id"),
        view=view,
        config=config,
        rules=_stack_rules(_text_of_rules(outer.get("stack_trace_rules"), options.stack_trace_rules)),
        fingerprints=(
            FingerprintRules.of(fingerprints)
            if isinstance(fingerprints, list)
            else _fingerprint_rules(fingerprints or options.fingerprint_rules)
        ),
        expect=outer.get("expect") or {},
    )


def _text_of_rules(rules: object, otherwise: str) -> str:
    """Stack trace rules as one text; a list holds one rule an entry."""
    if isinstance(rules, list):
        return "\n".join(str(rule) for rule in rules)
    return rules if isinstance(rules, str) and rules else otherwise


def answer(case: Case) -> dict[str, Any]:
    """The JSON answer to one case."""
    result = group(case.view, case.config, case.rules, case.fingerprints, transition=None)
    return {
        "id": case.id,
        "config": result.config,
        "variants": {
            name: {"hash": value, "contributes": contributes} for name, (value, contributes) in result.variants.items()
        },
        "hashes": result.hashes,
        "fingerprint": result.fingerprint,
        "title": result.title,
        "culprit": result.culprit,
    }


def check(options: Options) -> None:
    """Raises ConfigError naming every broken rule and an unknown configuration."""
    mistakes = []
    if options.config not in GROUPING_CONFIGS:
        mistakes.append(f"grouping config: {options.config!r} is not one of {', '.join(GROUPING_CONFIGS)}")
    for name, parse, text in (
        ("stack trace rules", _stack_rules, options.stack_trace_rules),
        ("fingerprint rules", _fingerprint_rules, options.fingerprint_rules),
    ):
        try:
            parse(text)
        except RuleError as error:
            mistakes.append(f"{name}: {error}")
    if mistakes:
        raise ConfigError(mistakes)


def group_lines(lines: Iterable[str], options: Options, *, as_json: bool) -> Iterator[str]:
    """`collector group`: one JSON answer an event, or the component trees with an empty line between events.

    Raises ConfigError for broken options; what is wrong with one line is the answer to that line.
    """
    check(options)
    first = True
    for found in documents(lines):
        try:
            case = case_of(found, options)
        except ValueError as error:
            problem = {"id": found.get("id") if isinstance(found, dict) else None, "error": str(error)}
            yield json.dumps(problem) if as_json else f"error: {error}"
            continue
        if as_json:
            yield json.dumps(answer(case))
            continue
        if not first:
            yield ""
        first = False
        yield from explain(case.view, case.config, case.rules, case.fingerprints)


def parameterize_lines(lines: Iterable[str]) -> Iterator[str]:
    """`collector group --parameterize`: JSON strings with their variable parts replaced."""
    for found in documents(lines):
        yield json.dumps(replace_variable_parts(found if isinstance(found, str) else json.dumps(found)))


def eval_lines(lines: Iterable[str]) -> Iterator[str]:
    """`collector rules eval`: what rules make of the frames of one stack."""
    for found in documents(lines):
        if not isinstance(found, dict):
            yield json.dumps({"error": "a question is a JSON object"})
        elif "parse" in found:
            yield json.dumps(_parsed(str(found["parse"])))
        else:
            head = {"id": found["id"]} if "id" in found else {}
            try:
                yield json.dumps({**head, **_evaluated(found)})
            except ValueError as error:
                yield json.dumps({**head, "error": str(error)})


def _parsed(rule: str) -> dict[str, Any]:
    try:
        StackRules(rule)
    except RuleError as error:
        return {"valid": False, "error": str(error)}
    return {"valid": True, "error": None}


def _evaluated(question: dict[str, Any]) -> dict[str, Any]:
    text = _text_of_rules(question.get("rules"), "")
    if text.startswith(BUILT_IN) and text.removeprefix(BUILT_IN) not in BUILT_IN_SETS:
        raise ValueError(f"unknown set {text!r}; there are {', '.join(BUILT_IN + name for name in BUILT_IN_SETS)}")
    engine = _stack_rules(text).on_top_of("")
    event = {
        "exception": {"values": [question.get("exception") or {}]},
        "stacktrace": {"frames": question.get("frames")},
    }
    view = lenient(event)
    exception = ((view.exception and view.exception.values) or [None])[0]
    mechanism = exception.mechanism.type if exception and exception.mechanism else None
    about = About(exception.type, exception.value, mechanism) if exception else About()
    platform = question.get("platform")
    frames = (view.stacktrace and view.stacktrace.frames) or ()
    looks = [look_at(frame, platform, rewrite_spawn=True) for frame in frames if frame is not None]
    before = question.get("contributes_before") or [True] * len(looks)
    if len(before) != len(looks):
        raise ValueError(f"{len(before)} flags in contributes_before for {len(looks)} frames")
    places = engine.classify(looks, about)
    weighed = engine.weigh(looks, places, about, [[bool(flag) for flag in before]])[0]
    return {
        "frames": [{"in_app": place.in_app, "category": place.category} for place in places],
        "contributes": weighed.flags,
        "stacktrace_contributes": weighed.contributes,
    }


def test_lines(lines: Iterable[str], options: Options) -> Iterator[Checked]:
    """`collector rules test`: one line an expectation, and a last one with the totals. Raises ConfigError."""
    check(options)
    results: dict[object, GroupingResult] = {}
    counts = Counter[bool]()
    for number, found in enumerate(documents(lines), 1):
        name: object = found.get("id", number) if isinstance(found, dict) else number
        try:
            case = case_of(found, options)
            result = group(case.view, case.config, case.rules, case.fingerprints, transition=None)
            results[name] = result
            problems = list(_unmet(case, result, results))
        except ValueError as error:
            problems = [str(error)]
        counts[not problems] += 1
        yield Checked(not problems, f"FAIL {name}: {'; '.join(problems)}" if problems else f"ok   {name}")
    yield Checked(not counts[False], f"{counts[True]} passed, {counts[False]} failed")


test_lines.__test__ = False  # type: ignore[attr-defined]  # its name is no test's


def _unmet(case: Case, result: GroupingResult, results: dict[object, GroupingResult]) -> Iterator[str]:
    got = {
        "hashes": result.hashes,
        "fingerprint": result.fingerprint,
        "title": result.title,
        "culprit": result.culprit,
        "in_app": _in_app(case),
    }
    for key, wanted in case.expect.items():
        if key in got:
            if got[key] != wanted:
                yield f"{key} is {json.dumps(got[key])}, expected {json.dumps(wanted)}"
        elif key in ("same_as", "differs_from"):
            other = results.get(wanted)
            if other is None:
                yield f"{key}: there is no earlier event {wanted!r}"
            elif bool(set(other.hashes) & set(result.hashes)) != (key == "same_as"):
                yield f"shares {'no' if key == 'same_as' else 'an'} issue with {wanted!r}"
        else:
            yield f"unknown expectation {key!r}"


def _in_app(case: Case) -> list[bool]:
    """The flags of the last exception's frames, else of the event's own stack, else of its only thread's."""
    settings = GROUPING_CONFIGS[case.config]
    facts = Facts(case.view, case.rules.reader(settings.rules, legacy=settings.legacy))
    stack = facts.exception_stack(len(facts.exceptions) - 1) if facts.exceptions else facts.top_level_stack()
    thread = facts.chosen_thread()
    if stack is None and thread is not None:
        stack = facts.thread_stack(thread)
    return [bool(place.in_app) for place in stack.places] if stack else []


def try_rules(payloads: Iterable[bytes], before: Options, after: Options) -> Iterator[str]:
    """`collector rules try`: over stored (normalised) events, which issues would merge or split, with counts.

    Raises ConfigError for broken rules. The last line is a total.
    """
    check(before)
    check(after)
    sides = [
        (side.config, _stack_rules(side.stack_trace_rules), _fingerprint_rules(side.fingerprint_rules))
        for side in (before, after)
    ]
    moves: Counter[tuple[str, str]] = Counter()
    titles: dict[str, str] = {}
    for payload in payloads:
        view = decode(payload)
        old, new = (group(view, *side, transition=None) for side in sides)
        moves[old.hashes[0], new.hashes[0]] += 1
        titles.setdefault(old.hashes[0], old.title)
        titles.setdefault(new.hashes[0], new.title)
    merges = _partners((new, old) for old, new in moves)
    splits = _partners(moves)
    for word, partners in (("merge", merges), ("split", splits)):
        for owner, parts in partners.items():
            yield f"{word}  {owner}  {titles[owner]}"
            for part in parts:
                count = moves[(part, owner) if word == "merge" else (owner, part)]
                yield f"         {part}  {count} event{'s' if count != 1 else ''}  {titles[part]}"
    events = sum(moves.values())
    old_issues, new_issues = len({old for old, _ in moves}), len({new for _, new in moves})
    yield (
        f"{events} events: {old_issues} issues before, {new_issues} after; "
        f"{len(merges)} would be merged from several, {len(splits)} would split"
    )


def _partners(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Owner -> its parts, for those owners that have more than one."""
    partners: dict[str, list[str]] = defaultdict(list)
    for owner, part in pairs:
        partners[owner].append(part)
    return {owner: parts for owner, parts in partners.items() if len(parts) > 1}
