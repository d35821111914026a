"""What `collector group` and `collector rules` answer: text lines in, text lines out; no arguments, no printing.

The line formats are interfaces:

- an event is `{...}` or `{"id", "event", "stack_trace_rules", "fingerprint_rules", "config"}`, all but event optional;
  rules are text, or a list in the JSON form. Its answer is `{"id", "config", "variants": {NAME: {"hash",
  "contributes"}}, "hashes", "fingerprint", "title", "culprit"}`, or `{"id", "error"}`. A line that is no JSON is
  answered by an error too; the others are answered all the same.
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
from collector.group.view import FrameView, View, decode, lenient
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


class Broken(NamedTuple):
    """A line of the input that is no JSON, and why."""

    why: str


@lru_cache(maxsize=MAX_REMEMBERED_RULES)
def _stack_rules(text: str) -> StackRules:
    if not text.startswith(BUILT_IN):
        return StackRules(text)
    name = text.removeprefix(BUILT_IN).strip()
    if name not in BUILT_IN_SETS:
        raise ValueError(f"unknown set {name!r}; there are {', '.join(BUILT_IN_SETS)}")
    return StackRules(built_in_text(name))


@lru_cache(maxsize=MAX_REMEMBERED_RULES)
def _fingerprint_rules(text: str) -> FingerprintRules:
    return FingerprintRules(text)


def documents(lines: Iterable[str]) -> Iterator[Any]:
    """The JSON documents of a text: one a line, or one over all lines; what is no JSON comes as Broken."""
    source = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    for number, line in source:
        found = _document(number, line)
        if isinstance(found, Broken) and number == 1 and line.lstrip()[0] in "{[":  # may go on over more lines
            rest = list(source)
            whole = _document(1, "\n".join([line, *(each for _, each in rest)]))
            yield from [whole] if not isinstance(whole, Broken) else [found, *(_document(*each) for each in rest)]
            return
        yield found


def _document(number: int, text: str) -> Any:
    try:
        return json.loads(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return Broken(f"line {number} is no JSON: {why}")


def case_of(found: Any, options: Options) -> Case:
    """The case that a document states. Raises ValueError (RuleError for broken rules) with what is wrong."""
    if isinstance(found, Broken):
        raise ValueError(found.why)
    if not isinstance(found, dict):
        raise ValueError("an event is a JSON object")
    outer = found if "event" in found else {"event": found, "id": found.get("event_id")}
    event, config, expect = outer["event"], outer.get("config") or options.config, outer.get("expect") or {}
    if not isinstance(event, dict):
        raise ValueError("event is not a JSON object")
    if not isinstance(expect, dict):
        raise ValueError("expect is not a JSON object")
    if not isinstance(config, str) or config not in GROUPING_CONFIGS:
        raise ValueError(f"unknown config {config!r}; there are {', '.join(GROUPING_CONFIGS)}")
    return Case(
        id=outer.get("id"),
        view=_view(event, options),
        config=config,
        rules=_stack_rules(_text_of_rules(outer.get("stack_trace_rules"), options.stack_trace_rules)),
        fingerprints=_fingerprints_of(outer.get("fingerprint_rules"), options.fingerprint_rules),
        expect=expect,
    )


def _view(event: dict[str, Any], options: Options) -> View:
    try:
        if options.normalise is None:
            return lenient(event)
        return decode(options.normalise(json.dumps(event).encode("utf-8", "replace")))
    except RecursionError as error:
        raise ValueError("the event is nested too deeply") from error


def _text_of_rules(rules: object, otherwise: str) -> str:
    """Stack trace rules as one text; a list holds one rule an entry."""
    if isinstance(rules, list):
        return "\n".join(str(rule) for rule in rules)
    if rules is not None and not isinstance(rules, str):
        raise ValueError("stack trace rules are a text or a list of texts")
    return rules or otherwise


def _fingerprints_of(rules: object, otherwise: str) -> FingerprintRules:
    if isinstance(rules, list):
        return FingerprintRules.of(rules)
    if rules is not None and not isinstance(rules, str):
        raise ValueError("fingerprint rules are a text or a list of {matchers, fingerprint, attributes}")
    return _fingerprint_rules(rules or otherwise)


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


def is_error(line: str) -> bool:
    """Whether an answer says that its question could not be answered."""
    if not line.startswith("{"):
        return line.startswith("error: ")
    return '"error": "' in line and bool(json.loads(line).get("error"))


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
            first = False
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
        if isinstance(found, Broken):
            yield json.dumps({"error": found.why})
            continue
        yield json.dumps(replace_variable_parts(found if isinstance(found, str) else json.dumps(found)))


def eval_lines(lines: Iterable[str]) -> Iterator[str]:
    """`collector rules eval`: what rules make of the frames of one stack."""
    for found in documents(lines):
        head = {"id": found["id"]} if isinstance(found, dict) and "id" in found else {}
        try:
            yield json.dumps({**head, **_evaluated(found)})
        except ValueError as error:
            yield json.dumps({**head, "error": str(error)})


def _parsed(rule: object) -> dict[str, Any]:
    try:
        if not isinstance(rule, str):
            raise ValueError("a rule is a text")
        StackRules(rule)
    except ValueError as error:
        return {"valid": False, "error": str(error)}
    return {"valid": True, "error": None}


def _evaluated(question: Any) -> dict[str, Any]:
    if isinstance(question, Broken):
        raise ValueError(question.why)
    if not isinstance(question, dict):
        raise ValueError("a question is a JSON object")
    if "parse" in question:
        return _parsed(question["parse"])
    engine = _stack_rules(_text_of_rules(question.get("rules"), "")).on_top_of("")
    about, platform = _about(question.get("exception")), question.get("platform")
    platform = platform if isinstance(platform, str) else None
    looks = [look_at(frame, platform, rewrite_spawn=True) for frame in _frames(question.get("frames"))]
    before = question.get("contributes_before")
    before = [True] * len(looks) if before is None else before
    if not isinstance(before, list) or len(before) != len(looks):
        raise ValueError(f"contributes_before is not a list with a flag for each of {len(looks)} frames")
    places = engine.classify(looks, about)
    weighed = engine.weigh(looks, places, about, [[bool(flag) for flag in before]])[0]
    return {
        "frames": [{"in_app": place.in_app, "category": place.category} for place in places],
        "contributes": weighed.flags,
        "stacktrace_contributes": weighed.contributes,
    }


def _frames(frames: object) -> list[FrameView]:
    """The frames of a question, one for each entry whatever it is."""
    if frames is not None and not isinstance(frames, list):
        raise ValueError("frames is not a list")
    entries = [frame if isinstance(frame, dict) else {} for frame in frames or ()]
    stack = lenient({"stacktrace": {"frames": entries}}).stacktrace
    return [frame or FrameView() for frame in (stack and stack.frames) or ()]


def _about(exception: object) -> About:
    values = lenient({"exception": {"values": [exception]}}).exception
    found = ((values and values.values) or [None])[0]
    if found is None:
        return About()
    return About(found.type, found.value, found.mechanism.type if found.mechanism else None)


def test_lines(lines: Iterable[str], options: Options) -> Iterator[Checked]:
    """`collector rules test`: one line an expectation, and a last one with the totals. Raises ConfigError."""
    check(options)
    results: dict[str, GroupingResult] = {}
    counts = Counter[bool]()
    for number, found in enumerate(documents(lines), 1):
        name = str(found.get("id", number) if isinstance(found, dict) else number)
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


def _unmet(case: Case, result: GroupingResult, results: dict[str, GroupingResult]) -> Iterator[str]:
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
            other = results.get(str(wanted))
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
