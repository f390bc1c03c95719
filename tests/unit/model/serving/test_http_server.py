"""The HTTP server bounds what a client can take from it."""

import http.client
import socket
import threading

import pytest

from recpipe_model.server.http_server import Answer, HttpServer, error_answer

SECONDS = 5.0


@pytest.fixture
def serve():
    servers = []

    def start(respond, *, max_connections=8, timeout=SECONDS):
        server = HttpServer(("127.0.0.1", 0), respond, max_connections=max_connections, timeout=timeout)
        server.start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(grace=SECONDS)


def connect(server):
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)


def request(connection, method="GET", target="/", body=None, headers=None):
    connection.request(method, target, body, headers or {})
    response = connection.getresponse()
    return response.status, response.read()


def echo(method, target, body):
    return Answer(200, "text/plain", f"{method} {target} {len(body)}".encode())


def test_a_connection_serves_many_requests(serve):
    connection = connect(serve(echo))
    assert request(connection, target="/a?b") == (200, b"GET /a?b 0")
    socket_used = connection.sock
    assert request(connection, "POST", "/c", b"12345") == (200, b"POST /c 5")
    assert connection.sock is socket_used


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Transfer-Encoding": "chunked"}, 411),
        ({"Content-Length": "-1"}, 411),
        ({"Content-Length": str(2**40)}, 413),
        ({"Content-Length": "3", "Content-Encoding": "gzip"}, 415),
    ],
)
def test_a_body_it_will_not_read_is_refused_and_the_connection_closed(serve, headers, status):
    connection = connect(serve(echo))
    connection.putrequest("POST", "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == status
    assert b"error" in response.read()
    assert response.will_close


def test_a_client_that_sends_too_slowly_is_cut_off(serve):
    server = serve(echo, timeout=0.2)
    with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\nonly a part")
        assert slow.recv(100) == b""


def test_connections_over_the_limit_are_refused_until_one_ends(serve):
    server = serve(echo, max_connections=1)
    first = connect(server)
    assert request(first)[0] == 200
    assert request(connect(server))[0] == 503
    first.close()
    for _ in range(1000):  # the first one's thread has to see its end
        if request(connect(server))[0] == 200:
            return
    pytest.fail("the freed connection was never given out again")


def test_a_fault_while_answering_is_an_internal_error(serve):
    def fail(method, target, body):
        raise KeyError("surprise")

    status, body = request(connect(serve(fail)))
    assert status == 500
    assert b"surprise" not in body


def test_stopping_waits_for_the_request_in_progress(serve):
    entered, leave = threading.Event(), threading.Event()

    def respond(method, target, body):
        entered.set()
        assert leave.wait(SECONDS)
        return error_answer(418, "done")

    server = serve(respond)
    connection = connect(server)
    connection.request("GET", "/")
    assert entered.wait(SECONDS)
    stopped = threading.Thread(target=server.stop, args=(SECONDS,))
    stopped.start()
    leave.set()
    response = connection.getresponse()
    assert (response.status, response.read()) == (418, b'{"error": "done"}')
    stopped.join(SECONDS)
    assert not stopped.is_alive()
