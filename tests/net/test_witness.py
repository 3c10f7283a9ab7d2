"""Asking a witness over HTTP: what is sent, what each answer means, and servers that mean harm."""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from atoll.crypto import tlog_witness
from atoll.errors import AtollError
from atoll.net.witness import OldSizeRefused, add_checkpoint

NOTE = "o\n3\nroot\n\n— o c2ln\n".encode()
LINE = "— witness.example/w1 c2lnbmF0dXJl"
HASH = b"\x07" * 32


@contextlib.contextmanager
def serving(
    handle: Callable[[http.server.BaseHTTPRequestHandler, bytes], None], pem: Path | None = None
) -> Iterator[str]:
    """A web server on loopback, over TLS with a key and certificate; `handle` gets each request with its body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # A client that has had enough hangs up.
            with contextlib.suppress(OSError):
                handle(self, body)
            self.close_connection = True

        do_GET = do_POST  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"{'https' if pem else 'http'}://127.0.0.1:{server.server_port}/prefix"
        finally:
            server.shutdown()


@contextlib.contextmanager
def raw(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server below HTTP: `answer` writes what it likes to the connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                self.request.recv(1 << 16)
                answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def fixed(
    status: int, body: bytes, media: str = "text/plain", **headers: str
) -> Callable[[http.server.BaseHTTPRequestHandler, bytes], None]:
    """A handler that always gives the same answer."""

    def handle(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", media)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return handle


def ask(url: str, old_size: int = 2, timeout: float = 10.0) -> list[str]:
    return add_checkpoint(url, old_size=old_size, proof=[HASH], checkpoint=NOTE, timeout=timeout)


def refused(url: str, **options: Any) -> AtollError:
    with pytest.raises(AtollError) as caught:
        ask(url, **options)
    return caught.value


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_sent_and_what_comes_back(slash: str) -> None:
    seen: list[tuple[str, str, bytes, dict[str, str]]] = []

    def handle(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        seen.append((handler.command, handler.path, body, {k.lower(): v for k, v in handler.headers.items()}))
        fixed(200, f"{LINE}\n{LINE}AAAA\n".encode())(handler, body)

    with serving(handle) as url:
        assert ask(url + slash) == [LINE, LINE + "AAAA"]
    ((method, path, body, headers),) = seen
    assert (method, path) == ("POST", "/prefix/add-checkpoint")
    assert body == tlog_witness.encode_request(2, [HASH], NOTE)
    assert headers["accept-encoding"] == "identity"
    assert not {"authorization", "cookie"} & set(headers)


def test_a_wrong_old_size_carries_the_right_one() -> None:
    for media in ("text/x.tlog.size", "Text/X.tlog.size; charset=utf-8"):
        with serving(fixed(409, b"20852014\n", media)) as url:
            error = refused(url)
        assert isinstance(error, OldSizeRefused)
        assert (error.code, error.size, error.party) == ("E_STATE", 20852014, "127.0.0.1")


@pytest.mark.parametrize("body", [b"", b"x\n", b"-1\n", b"3", b"03\n", b"9223372036854775808\n", b"3\n3\n"])
def test_a_size_that_is_none_is_refused(body: bytes) -> None:
    with serving(fixed(409, body, "text/x.tlog.size")) as url:
        error = refused(url)
    assert error.code == "E_WIRE"
    assert not isinstance(error, OldSizeRefused)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "E_WIRE"),
        (403, "E_SIGNATURE"),
        (404, "E_NOT_FOUND"),
        (409, "E_WIRE"),
        (413, "E_TOO_LARGE"),
        (422, "E_LEDGER"),
        (429, "E_BUSY"),
        (503, "E_BUSY"),
        (201, "E_UNREACHABLE"),
        (204, "E_UNREACHABLE"),
        (401, "E_UNREACHABLE"),
        (407, "E_UNREACHABLE"),
        (418, "E_UNREACHABLE"),
        (500, "E_UNREACHABLE"),
        (599, "E_UNREACHABLE"),
    ],
)
def test_each_status_has_its_meaning(status: int, code: str) -> None:
    body = b"" if status == 204 else f"{LINE}\n".encode()
    with serving(fixed(status, body)) as url:
        error = refused(url)
    assert (error.code, error.fault, error.party) == (code, "peer", "127.0.0.1")
    assert error.detail["status"] == status


def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    def elsewhere(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        asked.append(body)
        fixed(200, f"{LINE}\n".encode())(handler, body)

    with serving(elsewhere) as target:
        for status in (301, 302, 303, 307, 308):
            with serving(fixed(status, b"", Location=f"{target}/add-checkpoint")) as url:
                error = refused(url)
            assert (error.code, error.detail["status"]) == ("E_UNREACHABLE", status)
    assert asked == []


def test_what_a_witness_says_is_shown_short_and_clean() -> None:
    hostile = "\x1b[2J\x07\u202eunknown log\r\n\0".encode() + b"\xff" + b"x" * 5000
    with serving(fixed(404, hostile)) as url:
        error = refused(url)
    said = error.detail["answer"]
    assert "unknown log" in said
    assert said.isprintable()
    assert len(said) <= 200
    # A partner would learn only the code and who it was.
    assert error.to_wire() == {"code": "E_NOT_FOUND", "party": "127.0.0.1"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        LINE.encode(),
        b"\n" + LINE.encode() + b"\n",
        LINE.encode() + b"\n\n",
        b"<html>welcome</html>\n",
        LINE.encode() + b"\n\xff\n",
        LINE.encode() + b"\n" + LINE.encode()[:-1] + b"\n",
        LINE.encode().replace(b"w1", b"w\x1b[2J1") + b"\n",
        LINE.encode().replace(b"\xe2\x80\x94", b"-") + b"\n",
        bytes(range(256)),
    ],
)
def test_garbage_is_refused(body: bytes) -> None:
    with serving(fixed(200, body)) as url:
        assert refused(url).code == "E_WIRE"


def test_a_huge_body_is_not_read_to_its_end() -> None:
    sent = 0

    def handle(handler: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        piece = b"x" * 65536
        for _ in range(10_000):
            handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            sent += len(piece)

    with serving(handle) as url:
        error = refused(url)
    assert error.code == "E_TOO_LARGE"
    # What the buffers of both sides hold, and not 600 MB.
    assert sent < 64 << 20


def test_a_compressed_body_is_refused() -> None:
    with serving(fixed(200, b"\x1f\x8b", Content_Encoding="gzip")) as url:
        assert refused(url).code == "E_WIRE"


@pytest.mark.parametrize("part", ["nothing", "head", "body"])
def test_a_slow_witness_is_left_in_time(part: str) -> None:
    """A byte now and then keeps each single read alive; the whole has a limit all the same."""

    def answer(connection: socket.socket) -> None:
        if part == "body":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        elif part == "head":
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(200):
            time.sleep(0.1)
            if part != "nothing":
                connection.sendall(b"x")

    start = time.monotonic()
    with raw(answer) as url:
        error = refused(url, timeout=1.0)
    assert error.code == "E_UNREACHABLE"
    assert "within 1 s" in error.text
    assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\0" * 100,
        b"HTTP/9 \xff\x1b[2J" + b"z" * 5000 + b"\r\n\r\n",
        b"HTTP/1.1 2OO OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"y" * 300_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(data: bytes) -> None:
    with raw(lambda connection: connection.sendall(data)) as url:
        error = refused(url)
    assert error.code == "E_UNREACHABLE"
    assert error.text.isprintable()
    assert len(error.text) < 300


def test_a_name_that_does_not_resolve_in_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver cannot be interrupted: it is not waited for."""
    over = threading.Event()

    def resolve(*_: Any, **__: Any) -> Any:
        over.wait(30)
        raise socket.gaierror("no such name")

    for name in ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    start = time.monotonic()
    try:
        error = refused("https://witness.invalid", timeout=1.0)
        assert time.monotonic() - start < 10
    finally:
        over.set()
    assert error.code == "E_UNREACHABLE"
    assert "within 1 s" in error.text


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refused(f"http://127.0.0.1:{port}")
    assert (error.code, error.fault) == ("E_UNREACHABLE", "peer")


def certificate(file: Path, *names: x509.GeneralName) -> Path:
    """Writes a key and a certificate that it signs itself; the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "witness")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    asked: list[bytes] = []
    pem = certificate(tmp_path / "pem", x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    with serving(lambda _, body: asked.append(body), pem) as url:
        error = refused(url)
    assert error.code == "E_UNREACHABLE"
    assert "CERTIFICATE_VERIFY_FAILED" in error.text
    assert asked == []


def test_over_https_the_certificate_is_for_the_name_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = certificate(tmp_path / "pem", x509.DNSName("witness.test"))
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda _, *more, **named: real("127.0.0.1", *more, **named))
    for name in ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    # As an operator trusts an authority of his own.
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    asked: list[bytes] = []

    def handle(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        asked.append(body)
        fixed(200, f"{LINE}\n".encode())(handler, body)

    with serving(handle, pem) as url:
        assert ask(url.replace("127.0.0.1", "witness.test")) == [LINE]
        error = refused(url.replace("127.0.0.1", "other.test"))
    assert error.code == "E_UNREACHABLE"
    assert "CERTIFICATE_VERIFY_FAILED" in error.text
    assert len(asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "witness.example",
        "ftp://witness.example",
        "file:///etc/passwd",
        "https://",
        "https://user:word@witness.example",
        "https://witness.example/?q=1",
        "https://witness.example/#part",
        "https://witness.example:port",
        "https://[::1",
        # The name of an agreement would cross the network in the clear.
        "http://witness.example",
        "http://10.0.0.1/prefix",
    ],
)
def test_other_addresses_are_refused(url: str) -> None:
    assert refused(url).code == "E_FORMAT"


def test_what_cannot_be_sent_is_refused_before_anything_is() -> None:
    def handle(handler: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
        raise AssertionError("asked")

    with serving(handle) as url, pytest.raises(AtollError, match="E_FORMAT"):
        add_checkpoint(url, old_size=0, proof=[HASH], checkpoint=NOTE)


def test_a_proxy_of_the_environment_does_not_see_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(fixed(200, f"{LINE}\n".encode())) as url:
        assert ask(url) == [LINE]


def test_a_proxy_that_cannot_be_used_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "gopher://127.0.0.1:1")
    assert refused("https://witness.invalid").code == "E_UNREACHABLE"
