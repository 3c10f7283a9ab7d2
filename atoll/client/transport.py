"""HTTP to one node: token, timeouts, problem documents as errors."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, cast

import httpx

from atoll.errors import AtollError

START = "Start it with `atoll node -d DIR`, or correct the address."


def is_loopback(url: httpx.URL) -> bool:
    """Whether a URL names this very machine, where no proxy may stand between."""
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost"


def options(url: str, token: str | None, timeout: float) -> dict[str, Any]:
    """What an HTTP client is made with; `E_FORMAT` for a URL that is none, `E_AUTH` for a token that is none."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AtollError("E_FORMAT", f"{url!r} is not a URL: {error}.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise AtollError("E_FORMAT", f"{url!r} is not the http or https address of a node.")
    if token and not token.isascii():
        raise AtollError("E_AUTH", "the token has characters that no token has.")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return {
        "base_url": parsed,
        "headers": headers,
        "timeout": timeout,
        "trust_env": not is_loopback(parsed),
    }


@contextmanager
def failures(url: str, timeout: float) -> Iterator[None]:
    """Makes a connection that fails, or a silence, `E_UNREACHABLE`."""
    try:
        yield
    except httpx.TimeoutException:
        text = f"the node at {url} did not answer within {timeout:g} s."
        raise AtollError("E_UNREACHABLE", text, fault="operator", cure="Look at its log.") from None
    except httpx.TransportError as error:
        text = f"no node answers at {url} ({error or type(error).__name__})."
        raise AtollError("E_UNREACHABLE", text, fault="operator", cure=START) from None


def check(response: httpx.Response) -> None:
    """Raises the node's own error if the answer is one; `E_UNREACHABLE` if no node answered."""
    if response.is_success:
        return
    response.read()
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "code" not in body:
        text = f"{response.request.url} answered {response.status_code}; that is no Atoll node's answer."
        raise AtollError("E_UNREACHABLE", text, fault="operator", cure="Correct the address.")
    raise AtollError.from_problem(body)


def answer(response: httpx.Response) -> Any:
    """The JSON of an answer; errors as `check`."""
    check(response)
    return _parsed(response.content, response)


def _parsed(text: bytes | str, response: httpx.Response) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        text = f"{response.request.url.copy_with(query=None)} answered with something other than JSON."
        raise AtollError("E_UNREACHABLE", text, fault="operator", cure="Correct the address.") from None


class Transport:
    """Calls of one node's REST API. Safe to use from several threads.

    Args:
        url: base URL of the API, `http://` or `https://`.
        token: `atoll_...`, or None for the calls that need none.
        timeout: seconds for connecting, and for each silence while sending or receiving.
    """

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        given = options(url, token, timeout)
        self.url = str(given["base_url"]).rstrip("/")
        self._http = httpx.Client(**given)
        self._timeout = timeout

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _errors(self) -> AbstractContextManager[None]:
        return failures(self.url, self._timeout)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """One call with a JSON body; gives the JSON answer. Query values of None are left out.

        Raises:
            AtollError: the node's own error, or `E_UNREACHABLE`.
        """
        params = {k: v for k, v in query.items() if v is not None}
        with self._errors():
            response = self._http.request(method, path, json=body, params=params)
        return answer(response)

    def text(self, path: str) -> str:
        """The answer to a GET as text."""
        with self._errors():
            response = self._http.get(path)
        check(response)
        return response.text

    def upload(self, method: str, path: str, pieces: Iterator[bytes], **query: Any) -> Any:
        """Sends a body piece by piece; gives the JSON answer."""
        params = {k: v for k, v in query.items() if v is not None}
        headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
        # Registering a large table takes longer than any other call: only connecting has a limit here.
        timeout = httpx.Timeout(None, connect=self._timeout)
        with self._errors():
            response = self._http.request(
                method, path, content=pieces, params=params, headers=headers, timeout=timeout
            )
        check(response)
        return response.json()

    def slow(self, method: str, path: str, body: Any = None) -> Any:
        """A call whose answer takes as long as the work behind it, such as reading a large table."""
        timeout = httpx.Timeout(None, connect=self._timeout)
        with self._errors():
            response = self._http.request(method, path, json=body, timeout=timeout)
        check(response)
        return response.json()

    def lines(self, method: str, path: str, body: Any) -> Iterator[Any]:
        """The answer to a call, line by line of JSON, however long each takes; it is whole if this ends by itself."""
        timeout = httpx.Timeout(None, connect=self._timeout)
        with self._errors(), self._http.stream(method, path, json=body, timeout=timeout) as response:
            check(response)
            for line in response.iter_lines():
                yield _parsed(line, response)

    def bytes(self, path: str, accept: str = "*/*") -> bytes:
        """The whole answer to a GET."""
        with self._errors():
            response = self._http.get(path, headers={"Accept": accept})
        check(response)
        return response.content

    def download(self, path: str, to: Path, **query: Any) -> None:
        """Writes the answer to a GET into a file; a broken download leaves no file."""
        self._save("GET", path, to, params=query)

    def save(self, method: str, path: str, body: Any, to: Path) -> None:
        """Writes the answer to a call with a JSON body into a file, however long it takes; as `download`."""
        self._save(method, path, to, json=body, timeout=httpx.Timeout(None, connect=self._timeout))

    def _save(self, method: str, path: str, to: Path, **options: Any) -> None:
        part = to.with_name(f"{to.name}.part")
        try:
            with self._errors(), self._http.stream(method, path, **options) as response:
                check(response)
                with part.open("wb") as file:
                    for piece in response.iter_bytes():
                        file.write(piece)
            part.replace(to)
        except OSError as error:
            raise AtollError("E_SOURCE", f"cannot write {to}: {error.strerror}.", fault="caller") from None
        finally:
            part.unlink(missing_ok=True)


def segment(text: str) -> str:
    """A name as one segment of a path."""
    from urllib.parse import quote

    if text in ("", ".", ".."):
        raise AtollError("E_FORMAT", f"{text!r} is no name.")
    return quote(text, safe="")


def objects(value: Any) -> list[dict[str, Any]]:
    """A JSON answer that is a list of objects."""
    return cast("list[dict[str, Any]]", value)
