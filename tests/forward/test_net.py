"""The outbound client against real sockets that misbehave."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from collector.errors import ConfigError
from collector.machine.net import HttpNet, NetError, NetSettings, Request
from collector.model.settings import Duration, Size
from tests.helpers.mini_upstream import KEY, MiniUpstream

ENVELOPE = b'{}\n{"type":"client_report","length":2}\n{}\n'


@pytest.fixture
def upstream() -> Iterator[MiniUpstream]:
    with MiniUpstream() as running:
        yield running


@pytest.fixture
def net() -> Iterator[HttpNet]:
    made = HttpNet(NetSettings(connect_timeout=Duration("1 s"), timeout=Duration("1 s"), max_answer_bytes=Size("2 KB")))
    yield made
    made.close()


def post(upstream: MiniUpstream, path: str = "/api/7/envelope/") -> Request:
    auth = {"X-Sentry-Auth": f"Sentry sentry_key={KEY}"}
    body = b'{}\n{"type":"user_report","length":2}\n{}\n'
    return Request("POST", f"http://127.0.0.1:{upstream.port}{path}", auth, body)


def test_answer_comes_with_its_status_headers_and_body(net: HttpNet, upstream: MiniUpstream) -> None:
    answer = net.send(post(upstream))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"{}", "application/json")
    assert not answer.cut


def test_connection_is_kept_for_the_next_request(net: HttpNet, upstream: MiniUpstream) -> None:
    assert [net.send(post(upstream)).status for _ in range(5)] == [200] * 5
    assert upstream.connections == 1


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [("hang", "timeout"), ("endless_headers", "timeout"), ("take_reset", "reset"), ("refuse_body", "reset"),
     ("cut_answer", "protocol")],
)  # fmt: skip
def test_no_usable_answer_is_an_error_that_may_have_been_taken(
    net: HttpNet, upstream: MiniUpstream, behaviour: str, kind: str
) -> None:
    upstream.behave(behaviour)
    with pytest.raises(NetError) as caught:
        net.send(post(upstream))
    assert (caught.value.kind, caught.value.sent) == (kind, True)
    assert KEY not in str(caught.value)


def test_answer_that_never_ends_is_cut(net: HttpNet, upstream: MiniUpstream) -> None:
    upstream.behave("endless")
    answer = net.send(post(upstream))
    assert answer.cut and len(answer.body) == 2000


def test_redirect_is_not_followed(net: HttpNet, upstream: MiniUpstream) -> None:
    upstream.behave("redirect", location=f"http://127.0.0.1:{upstream.port}/elsewhere")
    answer = net.send(post(upstream))
    assert (answer.status, upstream.posts) == (302, 1)


def test_nobody_listening_is_told_apart_from_a_lost_answer(net: HttpNet) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api/1/envelope/"
        with pytest.raises(NetError) as caught:
            net.send(Request("POST", url, {}, ENVELOPE))
    assert (caught.value.kind, caught.value.sent) == ("refused", False)


def test_unknown_host_is_named(net: HttpNet) -> None:
    with pytest.raises(NetError) as caught:
        net.send(Request("POST", "http://upstream.invalid/api/1/envelope/", {}, ENVELOPE))
    assert (caught.value.kind, caught.value.sent) == ("dns", False)
    assert "upstream.invalid" in caught.value.what


def _no_tls(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")


def _reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("act", [_no_tls, _reset])
def test_a_handshake_with_what_speaks_no_tls_is_tls_trouble_and_nothing_was_sent(
    net: HttpNet, act: Callable[[socket.socket], None]
) -> None:
    def serve(listener: socket.socket) -> None:
        client, _ = listener.accept()
        client.recv(4096)
        act(client)
        client.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(NetError) as caught:
            net.send(Request("POST", f"https://127.0.0.1:{listener.getsockname()[1]}/api/1/envelope/", {}, ENVELOPE))
        thread.join()
    assert (caught.value.kind, caught.value.sent) == ("tls", False)


def test_proxy_that_is_away_is_named() -> None:
    net = HttpNet(NetSettings(proxy="http://127.0.0.1:9"))
    with pytest.raises(NetError) as caught:
        net.send(Request("POST", "http://127.0.0.1:10/api/1/envelope/", {}, ENVELOPE))
    net.close()
    assert (caught.value.kind, caught.value.sent) == ("proxy", False)


def test_proxy_of_the_environment_gets_the_request(
    net: HttpNet, upstream: MiniUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{upstream.port}")
    upstream.behave("status", code=407)
    assert net.send(Request("POST", "http://sentry.invalid/api/7/envelope/", {}, ENVELOPE)).status == 407
    monkeypatch.setenv("no_proxy", "other.invalid")
    with pytest.raises(NetError, match="cannot be resolved"):
        net.send(Request("POST", "http://other.invalid/api/7/envelope/", {}, ENVELOPE))


def test_unusable_ca_file_is_a_mistake_of_the_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        HttpNet(NetSettings(ca_file="/nowhere/ca.pem"))


def test_hurry_ends_a_request_in_flight(upstream: MiniUpstream) -> None:
    net = HttpNet(NetSettings(timeout=Duration("60 s")))
    upstream.behave("hang")
    errors: list[NetError] = []

    def send() -> None:
        try:
            net.send(post(upstream))
        except NetError as error:
            errors.append(error)

    thread = threading.Thread(target=send)
    thread.start()
    assert upstream.wait_for(lambda: upstream.posts == 1)
    net.hurry(0.1)
    thread.join(10)
    net.close()
    assert [error.kind for error in errors] == ["timeout"]
