"""A strict Sentry-like receiver on loopback that can also misbehave: real sockets, one thread, any number of tests.

    with MiniUpstream() as upstream:
        ... upstream.dsn ...
        upstream.behave("limited", retry_after="7")
        assert upstream.counted("error") == 1000

It decompresses and parses every envelope by the envelope grammar, checks sizes against the protocol's limits, validates
events against the published schema when the shared folder is there, keeps the first event of each id and counts the
rest as duplicates. Everything it finds wrong is a sentence in `complaints`; a test asserts that there are none.

Behaviours (`behave(name, **options)`), each until the next call or for `times` requests:
  ok            200 and the id
  slow          the same after `seconds`
  hang          reads the request, never answers
  refuse_body   closes the connection after the first bytes of the request (reset mid-body)
  take_reset    takes the envelope, then closes without an answer: the sender cannot know
  cut_answer    takes it, promises 100 bytes of answer and closes after 10
  garbage       200 with a web page instead of an answer
  endless       200 and a body that never ends; endless_headers: the same with header lines
  status        `code`, with `headers` and `detail`
  limited       429 with `limits` as X-Sentry-Rate-Limits and/or `retry_after`
  redirect      302 to `location`
  flap          `good` requests ok, then `bad` with 503, and so on
"""

import asyncio
import gzip
import json
import re
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import zstandard

SCHEMA = Path(__file__).parents[2].parent / "shared" / "conformance" / "event.schema.json"
MAX_REQUEST_BYTES = 20 * 2**20
MAX_EVENT_BYTES = 2**20
MAX_CLIENT_REPORT_BYTES = 100 * 2**10
MAX_CONTAINER_BYTES = 12 * 2**20
CONTAINERS = ("log", "trace_metric", "span")
KEY = "5e9a7e5e9a7e5e9a7e5e9a7e5e9a7e5e"


class Complaint(Exception):
    """The sender broke the protocol; the text says how."""


class Item:
    """One received item: its headers and payload (JSON where it is JSON)."""

    def __init__(self, headers: dict[str, Any], payload: bytes) -> None:
        self.headers = headers
        self.type: str = headers["type"]
        self.payload = payload

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


def parse_envelope(body: bytes) -> tuple[dict[str, Any], list[Item]]:
    """Header and items by the envelope grammar; raises Complaint."""
    line, _, rest = body.partition(b"\n")
    header = _object(line, "envelope header")
    items: list[Item] = []
    while rest:
        line, _, rest = rest.partition(b"\n")
        headers = _object(line, "item header")
        if not isinstance(headers.get("type"), str):
            raise Complaint("item header without a type")
        length = headers.get("length")
        if not isinstance(length, int) or length < 0:
            raise Complaint(f"item of type {headers['type']} without a length")
        if length > len(rest) or (len(rest) > length and rest[length : length + 1] != b"\n"):
            raise Complaint(f"item of type {headers['type']} lies about its length")
        items.append(Item(headers, rest[:length]))
        rest = rest[length + 1 :]
    return header, items


def _object(line: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise Complaint(f"{what} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Complaint(f"{what} is not an object")
    return value


def decompress(body: bytes, encoding: str) -> bytes:
    """The body as sent by the client; raises Complaint for an encoding a Sentry server would not know."""
    try:
        if encoding == "gzip":
            return gzip.decompress(body)
        if encoding == "deflate":
            return zlib.decompress(body)
        if encoding == "zstd":
            return zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_REQUEST_BYTES)
    except (OSError, zlib.error, EOFError, zstandard.ZstdError) as error:
        raise Complaint(f"body is not {encoding}: {error}") from error
    if encoding:
        raise Complaint(f"unknown content encoding {encoding!r}")
    return body


class Received:
    """Everything the receiver accepted, and how often it was told twice."""

    def __init__(self) -> None:
        self.envelopes: list[tuple[dict[str, Any], list[Item]]] = []
        self.bodies: list[bytes] = []
        self.requests: list[dict[str, str]] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.items: list[Item] = []
        self.duplicates: list[str] = []
        self.complaints: list[str] = []


class MiniUpstream:
    """See the module's docstring. All attributes of `received` are safe to read from the test's thread."""

    def __init__(self, validate: bool = True, port: int = 0) -> None:
        self.received = Received()
        self.port = port
        self.posts = 0
        self.connections = 0
        self._behaviour: dict[str, Any] = {"name": "ok", "times": -1}
        self._validator = _validator() if validate and SCHEMA.exists() else None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="mini-upstream", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._arrived = threading.Condition()

    # what a test uses -------------------------------------------------------------------------------------------

    @property
    def dsn(self) -> str:
        return f"http://{KEY}@127.0.0.1:{self.port}/7"

    def behave(self, name: str, times: int = -1, **options: Any) -> None:
        """From now on (or for `times` requests) do `name`."""
        self._behaviour = {"name": name, "times": times, **options}

    def counted(self) -> int:
        """How many occurrences the accepted events stand for."""
        return sum(count_of(event) for event in list(self.received.events.values()))  # they may still come in

    def reported(self, reason: str | None = None) -> int:
        """Sum of the quantities in all client reports (of one reason)."""
        return sum(
            entry["quantity"]
            for item in list(self.received.items)
            if item.type == "client_report"
            for entry in item.json["discarded_events"]
            if reason in (None, entry["reason"])
        )

    def wait_for(self, condition: Any, timeout_seconds: float = 60.0) -> bool:
        """Wait until `condition()` is true after some request; the result of the last look."""
        with self._arrived:
            return bool(self._arrived.wait_for(condition, timeout_seconds))

    def start(self) -> "MiniUpstream":
        ready = threading.Event()
        self._ready = ready
        self._thread.start()
        assert ready.wait(5), "mini upstream did not start"
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(5)
        assert not self._thread.is_alive(), "mini upstream did not stop"

    def __enter__(self) -> "MiniUpstream":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # the server -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        # Accepting ends first, and the server is closed last: asyncio forgets the socket of a connection that it has
        # accepted but not yet handed over when its server is closed in between.
        self._loop.remove_reader(self._server.sockets[0].fileno())
        mine = {asyncio.current_task()}
        while others := asyncio.all_tasks() - mine:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(others, timeout=0.01)
        await asyncio.sleep(0)  # transports that were aborted close in the loop's next turn
        self._server.close()
        await self._server.wait_closed()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        try:
            while await self._request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = await reader.readline()
        if not line.strip():
            return False
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        behaviour = self._next_behaviour()
        if behaviour["name"] == "refuse_body":
            await reader.read(10)
            return False
        body = await self._body(reader, headers)
        self.posts += 1
        answer = await getattr(self, f"_do_{behaviour['name']}")(behaviour, (method, path, headers, body), writer)
        with self._arrived:
            self._arrived.notify_all()
        return bool(answer) and headers.get("connection", "").lower() != "close"

    async def _body(self, reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            parts = []
            while size := int((await reader.readline()).split(b";")[0], 16):
                parts.append(await reader.readexactly(size))
                await reader.readline()
            await reader.readline()
            return b"".join(parts)
        return await reader.readexactly(int(headers.get("content-length", "0")))

    def _next_behaviour(self) -> dict[str, Any]:
        behaviour = self._behaviour
        if behaviour["times"] == 0:
            behaviour = self._behaviour = {"name": "ok", "times": -1}
        elif behaviour["times"] > 0:
            behaviour["times"] -= 1
        return behaviour

    # taking an envelope -----------------------------------------------------------------------------------------

    def _take(self, request: tuple[str, str, dict[str, str], bytes]) -> tuple[int, dict[str, Any]]:
        try:
            event_id = self._accept(*request)
        except Complaint as complaint:
            self.received.complaints.append(str(complaint))
            return 400, {"detail": str(complaint)}
        return 200, {"id": event_id} if event_id else {}

    def _accept(self, method: str, path: str, headers: dict[str, str], body: bytes) -> str:
        if method != "POST" or not re.fullmatch(r"(/prefix)?/api/\d+/envelope/", path):
            raise Complaint(f"{method} {path} is not an envelope door")
        if not re.match(rf"Sentry .*sentry_key={KEY}\b", headers.get("x-sentry-auth", "")):
            raise Complaint("missing authorization information")
        if len(body) > MAX_REQUEST_BYTES:
            raise Complaint("request body over 20 MiB")
        data = decompress(body, headers.get("content-encoding", ""))
        envelope, items = parse_envelope(data)
        self._check_items(envelope, items)
        self.received.requests.append(headers)
        self.received.bodies.append(data)
        self.received.envelopes.append((envelope, items))
        for item in items:
            self._keep(envelope, item)
        return str(envelope.get("event_id", ""))

    def _check_items(self, envelope: dict[str, Any], items: list[Item]) -> None:
        if "event_id" in envelope and not re.fullmatch(r"[0-9a-f]{32}", envelope["event_id"]):
            raise Complaint(f"event_id {envelope['event_id']!r} is not 32 hex digits")
        events = [item for item in items if item.type in ("event", "transaction", "feedback")]
        if len(events) > 1:
            raise Complaint("two events in one envelope")
        for item in items:
            limit = {"client_report": MAX_CLIENT_REPORT_BYTES}.get(item.type, MAX_EVENT_BYTES)
            if item.type in CONTAINERS:
                limit = MAX_CONTAINER_BYTES
                if "item_count" in item.headers and len(item.json["items"]) != item.headers["item_count"]:
                    raise Complaint(f"{item.type} container lies about item_count")
            if len(item.payload) > limit and item.type != "attachment":
                raise Complaint(f"item of type {item.type} has {len(item.payload)} bytes")
            if item.type == "event":
                self._check_event(envelope, item.json)
            if item.type == "client_report":
                _check_report(item.json)

    def _check_event(self, envelope: dict[str, Any], event: dict[str, Any]) -> None:
        if event.get("event_id") != envelope.get("event_id"):
            raise Complaint("the event's id is not the envelope's")
        if self._validator is not None:
            bare = {name: value for name, value in event.items() if name not in ("_meta", "message")}
            for error in self._validator.iter_errors(bare):
                raise Complaint(f"event against the schema: {list(error.absolute_path)} {error.message[:300]}")

    def _keep(self, envelope: dict[str, Any], item: Item) -> None:
        if item.type != "event":
            self.received.items.append(item)
            return
        event = item.json
        if event["event_id"] in self.received.events:
            self.received.duplicates.append(event["event_id"])
        else:
            self.received.events[event["event_id"]] = event

    # behaviours -------------------------------------------------------------------------------------------------

    async def _do_ok(self, _: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        status, answer = self._take(request)
        return await _answer(writer, status, json.dumps(answer).encode())

    async def _do_slow(self, behaviour: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(behaviour["seconds"])
        return await self._do_ok(behaviour, request, writer)

    async def _do_hang(self, *_: Any) -> bool:
        with self._arrived:
            self._arrived.notify_all()
        await self._stopping.wait()
        return False

    async def _do_take_reset(self, _: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        self._take(request)
        return False

    async def _do_cut_answer(self, _: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        self._take(request)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n0123456789")
        await writer.drain()
        writer.close()
        return False

    async def _do_garbage(self, _: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        return await _answer(writer, 200, b"<html>please log in to this network</html>", {"content-type": "text/html"})

    async def _do_endless(self, _: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{")
        while not self._stopping.is_set():
            writer.write(b" " * 10_000)
            await writer.drain()
            await asyncio.sleep(0.01)
        return False

    async def _do_endless_headers(self, _: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nx-long: ")
        while not self._stopping.is_set():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)
        return False

    async def _do_status(self, behaviour: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        body = json.dumps({"detail": behaviour.get("detail", "as told")}).encode()
        return await _answer(writer, behaviour["code"], body, behaviour.get("headers"))

    async def _do_limited(self, behaviour: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        headers = {}
        if "limits" in behaviour:
            headers["x-sentry-rate-limits"] = behaviour["limits"]
        if "retry_after" in behaviour:
            headers["retry-after"] = str(behaviour["retry_after"])
        return await _answer(writer, 429, b'{"detail":"Sentry dropped data due to a quota"}', headers)

    async def _do_redirect(self, behaviour: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        return await _answer(writer, 302, b"", {"location": behaviour["location"]})

    async def _do_flap(self, behaviour: dict[str, Any], request: Any, writer: asyncio.StreamWriter) -> bool:
        turn = behaviour["turn"] = behaviour.get("turn", -1) + 1
        if turn % (behaviour["good"] + behaviour["bad"]) < behaviour["good"]:
            return await self._do_ok(behaviour, request, writer)
        return await _answer(writer, 503, b'{"detail":"busy"}')


async def _answer(
    writer: asyncio.StreamWriter, status: int, body: bytes, headers: dict[str, str] | None = None
) -> bool:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in {"content-type": "application/json", **(headers or {})}.items()]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    await writer.drain()
    return True


def count_of(event: dict[str, Any]) -> int:
    """The number of occurrences that one forwarded event stands for."""
    return int((event.get("contexts") or {}).get("collector", {}).get("count", 1))


def _check_report(report: Any) -> None:
    for entry in report["discarded_events"]:
        if set(entry) != {"reason", "category", "quantity"} or entry["quantity"] <= 0 or len(entry["reason"]) > 200:
            raise Complaint(f"client report entry {entry}")


def _validator() -> Any:
    import jsonschema

    return jsonschema.Draft7Validator(json.loads(SCHEMA.read_bytes()))


def main() -> None:
    """As a process: prints its DSN, then one JSON line of totals for every line read from stdin ("NAME {options}")."""
    with MiniUpstream(port=int(sys.argv[1]) if len(sys.argv) > 1 else 0) as upstream:
        print(upstream.dsn, flush=True)
        for line in sys.stdin:
            name, _, options = line.strip().partition(" ")
            if name:
                upstream.behave(name, **json.loads(options or "{}"))
            state = {"events": len(upstream.received.events), "counted": upstream.counted(), "posts": upstream.posts}
            state |= {"duplicates": len(upstream.received.duplicates), "reported": upstream.reported()}
            print(json.dumps(state | {"complaints": upstream.received.complaints}), flush=True)


if __name__ == "__main__":
    main()
