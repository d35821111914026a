"""Several requests at once over real sockets, plain and TLS, with receivers that trickle, close and refuse."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from collector.machine import lanes
from collector.machine.net import Answer, HttpNet, NetError, NetSettings, Request
from collector.model.settings import Duration, Secret, Size
from tests.forward.conftest import MakeEdge
from tests.forward.edge import FakeNet
from tests.forward.receiver import OK, Got, Receiver, say
from tests.helpers.mini_upstream import KEY, decompress, parse_envelope

LIMITED = b"HTTP/1.1 429 No\r\nretry-after: 7\r\ncontent-length: 2\r\n\r\n{}"


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A certificate for 127.0.0.1 and its key, in one file."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("no openssl program to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key.pem"),
         "-out", str(folder / "cert.pem")],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return str(both)


@pytest.fixture(params=["plain", "tls"])
def receiver(request: pytest.FixtureRequest, certificate: str) -> Iterator[Receiver]:
    with Receiver(certificate if request.param == "tls" else "") as running:
        yield running


MakeNet = Callable[..., HttpNet]


@pytest.fixture
def make_net(certificate: str) -> Iterator[MakeNet]:
    made: list[HttpNet] = []

    def make(seconds: float = 20.0, ca_file: str = certificate) -> HttpNet:
        limits = {"timeout": Duration(seconds), "connect_timeout": Duration(10.0), "max_answer_bytes": Size(2000)}
        made.append(HttpNet(NetSettings(ca_file=ca_file, **limits)))
        return made[-1]

    yield make
    for net in made:
        net.close()


def burst(receiver: Receiver, count: int = 4, body: bytes = b"hello") -> list[Request]:
    return [Request("POST", f"{receiver.origin}/{number}", {"X-Number": str(number)}, body) for number in range(count)]


def told(results: list[Answer | NetError]) -> list[object]:
    """The status of each answer, or the kind of the error and whether the request may have arrived."""
    return [one.status if isinstance(one, Answer) else (one.kind, one.sent) for one in results]


def test_bursts_are_answered_in_their_order_over_connections_that_stay(receiver: Receiver, make_net: MakeNet) -> None:
    net = make_net()
    receiver.reply = lambda got, c: say(c, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + got.path[1:].encode() * 2)
    for _ in range(5):
        answers = net.send_many(burst(receiver))
        assert [one.body for one in answers if isinstance(one, Answer)] == [b"00", b"11", b"22", b"33"]
    assert receiver.connections == 4
    assert sorted(got.path for got in receiver.got) == ["/0"] * 5 + ["/1"] * 5 + ["/2"] * 5 + ["/3"] * 5
    assert {got.body for got in receiver.got} == {b"hello"}


def test_all_are_under_way_before_the_first_is_answered(receiver: Receiver, make_net: MakeNet) -> None:
    together = threading.Barrier(4)

    def reply(got: Got, connection: socket.socket) -> bool:
        together.wait(5)
        return say(connection, OK)

    receiver.reply = reply
    assert told(make_net().send_many(burst(receiver))) == [200] * 4


@pytest.mark.parametrize(
    ("parts", "result"),
    [
        ([bytes([one]) for one in OK], 200),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", OK], 200),
        ([b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n", b"1\r\n}\r\n0\r\n\r\n"], 200),
        ([b"HTTP/1.1 204 No\r\n\r\n"], 204),
        ([b"HTTP/1.1 302 Go\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"], 302),
        ([b"this is no answer\r\n\r\n"], ("protocol", True)),
        ([b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n", b"x" * 3000], 200),
    ],
)
def test_each_form_of_answer_is_read(receiver: Receiver, make_net: MakeNet, parts: list[bytes], result: object) -> None:
    receiver.reply = lambda got, connection: say(connection, *parts)
    assert told(make_net().send_many(burst(receiver, 2))) == [result] * 2


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n{}", 200),
        (b"", ("reset", True)),
        (b"HTTP/1.1 200", ("reset", True)),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}", ("reset", True)),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}", ("reset", True)),
    ],
)
def test_an_answer_that_ends_with_its_connection(
    receiver: Receiver, make_net: MakeNet, said: bytes, result: object
) -> None:
    receiver.reply = lambda got, c: say(c, OK) if got.path != "/1" else say(c, said, stay=False)
    assert told(make_net().send_many(burst(receiver))) == [200, result, 200, 200]
    assert len(receiver.got) == 4


def test_too_long_an_answer_is_cut(receiver: Receiver, make_net: MakeNet) -> None:
    receiver.reply = lambda got, c: say(c, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 9000)
    (answer,) = make_net().send_many(burst(receiver, 1))
    assert isinstance(answer, Answer)
    assert (answer.cut, len(answer.body)) == (True, 2000)


@pytest.mark.parametrize("endless", [b"x", b"HTTP/1.1 200 OK\r\nx-", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"])
def test_one_that_trickles_for_ever_ends_with_the_time_and_the_others_are_read(
    receiver: Receiver, make_net: MakeNet, endless: bytes
) -> None:
    def reply(got: Got, connection: socket.socket) -> bool:
        stay = say(connection, OK if got.path != "/0" else endless[:-1] or b"H")
        while got.path == "/0" and not receiver.over.wait(0.05):
            say(connection, b"x")
        return stay

    receiver.reply = reply
    results = told(make_net(2.5).send_many(burst(receiver)))
    assert results[0] in [("timeout", True), ("protocol", True)]
    assert results[1:] == [200] * 3
    assert len(receiver.got) == 4


def test_connections_that_were_closed_meanwhile_are_not_used(receiver: Receiver, make_net: MakeNet) -> None:
    net = make_net()
    net.send_many(burst(receiver))
    receiver.hang_up()
    assert told(net.send_many(burst(receiver))) == [200] * 4
    assert len(receiver.got) == 8
    assert receiver.connections == 8


def test_a_connection_that_was_silent_for_long_is_not_used(
    receiver: Receiver, make_net: MakeNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_IDLE_SECONDS", 0.0)
    net = make_net()
    for _ in range(3):
        assert told(net.send_many(burst(receiver, 2))) == [200] * 2
    assert receiver.connections == 6


def test_a_connection_that_is_said_to_close_is_not_used_again(receiver: Receiver, make_net: MakeNet) -> None:
    receiver.reply = lambda got, c: say(c, OK.replace(b"content", b"connection: close\r\ncontent"))
    net = make_net()
    assert [told(net.send_many(burst(receiver, 2))) for _ in range(2)] == [[200] * 2] * 2
    assert receiver.connections == 4


def test_429_in_the_middle_is_the_answer_to_its_request_only(receiver: Receiver, make_net: MakeNet) -> None:
    receiver.reply = lambda got, c: say(c, LIMITED if got.path == "/2" else OK)
    results = make_net().send_many(burst(receiver, 6))
    assert told(results) == [200, 200, 429, 200, 200, 200]
    assert isinstance(results[2], Answer) and results[2].headers["retry-after"] == "7"


def test_one_that_does_not_read_ends_with_the_time_also_when_that_is_brought_forward(
    receiver: Receiver, make_net: MakeNet
) -> None:
    net = make_net(60.0)

    def stare(connection: socket.socket) -> None:
        receiver.over.wait(0.3)
        net.hurry(0.5)
        receiver.over.wait(60)

    receiver.greet = stare
    assert told(net.send_many(burst(receiver, 1, b"x" * (32 * 2**20)))) == [("timeout", True)]


def test_one_that_reads_by_drops_ends_with_the_time(receiver: Receiver, make_net: MakeNet) -> None:
    def sip(connection: socket.socket) -> None:
        while not receiver.over.wait(0.1):
            connection.recv(16 * 1024)

    receiver.greet = sip
    assert told(make_net(2.5).send_many(burst(receiver, 1, b"x" * (32 * 2**20)))) == [("timeout", True)]


def test_the_reason_of_one_that_refuses_a_body_half_way_is_read(make_net: MakeNet) -> None:
    with Receiver() as receiver:

        def refuse(connection: socket.socket) -> None:
            connection.recv(1024)
            say(connection, b"HTTP/1.1 413 Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
            connection.shutdown(socket.SHUT_RDWR)

        receiver.greet = refuse
        assert told(make_net().send_many(burst(receiver, 1, b"x" * (32 * 2**20)))) == [413]


def test_nobody_there_is_found_out_once_and_nothing_was_sent(make_net: MakeNet) -> None:
    with Receiver() as receiver:
        requests = burst(receiver)
    assert told(make_net().send_many(requests)) == [("refused", False)] * 4


def test_a_certificate_of_somebody_else_gets_nothing(make_net: MakeNet, certificate: str) -> None:
    with Receiver(certificate) as receiver:
        assert told(make_net(ca_file="").send_many(burst(receiver))) == [("tls", False)] * 4
        assert receiver.got == []


# the sender over it -------------------------------------------------------------------------------------------------


def value_of(got: Got) -> str:
    """What the event in a request is called, "" when it holds none."""
    _, items = parse_envelope(decompress(got.body, got.headers.get("content-encoding", "")))
    return "".join(item.json["exception"]["values"][0]["value"] for item in items if item.type == "event")


@pytest.mark.parametrize(
    "bad",
    [LIMITED, b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}", b""],
    ids=["429", "503", "closed"],
)
def test_a_burst_that_is_interrupted_is_finished_later_with_nothing_told_twice(
    receiver: Receiver, make_net: MakeNet, make_edge: MakeEdge, bad: bytes
) -> None:
    fake, refused = FakeNet(), []

    def reply(got: Got, connection: socket.socket) -> bool:
        if value_of(got) == "issue 7" and not refused:
            refused.append(got)
            return say(connection, bad, stay=bool(bad))
        fake.take(Request("POST", "", {"Content-Encoding": got.headers.get("content-encoding", "")}, got.body))
        return say(connection, OK)

    receiver.reply = reply
    edge = make_edge(net=make_net(), dsn=Secret(receiver.origin.replace("://", f"://{KEY}@") + "/7"))
    for issue_id in range(1, 21):
        edge.ingest(issue_id)
    edge.settle()
    edge.restart()
    edge.clock.advance(61)
    edge.settle()
    assert len(refused) == 1
    assert len(fake.received.events) == 20
    assert fake.received.duplicates == []
    assert edge.totals()["sent_events"] == 20
    assert edge.records() == 0


def test_what_matters_most_goes_in_the_first_bursts(receiver: Receiver, make_net: MakeNet, make_edge: MakeEdge) -> None:
    edge = make_edge(net=make_net(), dsn=Secret(receiver.origin.replace("://", f"://{KEY}@") + "/7"))
    edge.ingest(1, 9)
    for issue_id in range(2, 9):
        edge.ingest(issue_id, 2)
    edge.settle()
    before = len(receiver.got)
    edge.clock.advance(61)
    edge.regressing = {5, 6, 7, 8}
    for issue_id in (5, 6, 7, 8, 31, 32, 33, 34):
        edge.ingest(issue_id)
    edge.settle()
    order = [value for got in receiver.got[before:] if (value := value_of(got))]
    assert set(order[:4]) == {f"issue {number}" for number in (31, 32, 33, 34)}
    assert set(order[4:8]) == {f"issue {number}" for number in (5, 6, 7, 8)}
    assert sorted(order[8:]) == [f"issue {number}" for number in range(1, 9)]
