"""Asking an independent witness for a cosignature, over HTTP (C2SP tlog-witness).

A witness is no partner: nothing it says is believed. The caller verifies the lines that come back
(`atoll.ledger.cosignature`), and its own log proves what the witness claims to have seen.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Coroutine, Sequence
from typing import Any, NoReturn

import httpx

from atoll.crypto import tlog_witness
from atoll.errors import AtollError

_SHOWN = 200


class OldSizeRefused(AtollError):  # noqa: N818
    """The witness cosigned another size last: ask once more with a proof from `size`, if the log has it.

    A witness that claims a size beyond the log's own has seen more than was written here, or lies.
    """

    def __init__(self, witness: str, size: int) -> None:
        super().__init__(
            "E_STATE",
            f"the witness {witness} cosigned size {size} of this log last",
            party=witness,
            fault="peer",
            cure="Ask again with a consistency proof from that size.",
            detail={"size": size},
        )
        self.size = size


def _address(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise AtollError("E_FORMAT", f"{url[:_SHOWN]!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or parsed.fragment:
        raise AtollError("E_FORMAT", f"{url[:_SHOWN]!r} is not the http or https address of a witness")
    if parsed.userinfo:
        raise AtollError("E_FORMAT", "the address of a witness holds no name and no password")
    if parsed.scheme == "http" and not _is_loopback(parsed):
        # Not for the cosignature, which is verified, but for who asks about which agreement.
        raise AtollError("E_FORMAT", f"a witness on another machine is asked over https, not at {parsed}")
    return parsed.copy_with(path=f"{parsed.path.rstrip('/')}/{tlog_witness.PATH}")


def _is_loopback(url: httpx.URL) -> bool:
    try:
        return ipaddress.ip_address(url.host).is_loopback
    except ValueError:
        return url.host == "localhost"


async def _exchange(url: httpx.URL, body: bytes, timeout: float) -> tuple[int, str, bytes]:
    """Status, media type and body of the answer; the whole takes at most `timeout` seconds."""
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "User-Agent": "atoll",
        # What arrives is bounded as it arrives: nothing may unpack to more.
        "Accept-Encoding": "identity",
    }
    async with (
        asyncio.timeout(timeout),
        httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=not _is_loopback(url)) as client,
        client.stream("POST", url, content=body, headers=headers) as response,
    ):
        if response.headers.get("content-encoding", "identity") != "identity":
            raise AtollError("E_WIRE", f"the witness {url.host} compressed what was asked for plain")
        answer = bytearray()
        async for piece in response.aiter_raw():
            answer += piece
            if len(answer) > tlog_witness.MAX_ANSWER:
                raise AtollError(
                    "E_TOO_LARGE",
                    f"the witness {url.host} answered with over {tlog_witness.MAX_ANSWER} bytes",
                    party=url.host,
                )
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return response.status_code, media, bytes(answer)


def _run(exchange: Coroutine[Any, Any, tuple[int, str, bytes]]) -> tuple[int, str, bytes]:
    """Runs it to its end. Unlike `asyncio.run` it does not wait for a thread that still resolves a name."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(exchange)
    finally:
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()


def _clean(text: str) -> str:
    """What a witness or its connection said, for the owner to read: short, and printable."""
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN]).strip()


def _refuse(host: str, status: int, body: bytes) -> NoReturn:
    """Raises what a status other than 200 and 409 means."""
    code, text, cure = {
        400: ("E_WIRE", "did not take the request as well-formed", "Its software and this one differ."),
        403: (
            "E_SIGNATURE",
            "does not accept the log's signature",
            "Give its operator the log's verifier key.",
        ),
        404: ("E_NOT_FOUND", "does not know this log", "Give its operator the log's verifier key."),
        413: ("E_TOO_LARGE", "found the request too large", "Send the checkpoint without cosignatures."),
        422: (
            "E_LEDGER",
            "does not see that the checkpoint extends the one it cosigned last",
            "Find out at once whether two histories of this log were signed: compare the copies at the partners.",
        ),
        409: (
            "E_WIRE",
            "refused the old size and did not say which it has",
            "Its software and this one differ.",
        ),
        429: ("E_BUSY", "was asked too often", "Ask again later."),
        503: ("E_BUSY", "is busy", "Ask again later."),
    }.get(status, ("E_UNREACHABLE", f"answered with status {status}", "Check the witness's address."))
    raise AtollError(
        code,
        f"the witness {host} {text}",
        party=host,
        fault="peer",
        cure=cure,
        detail={"status": status, "answer": _clean(body[:_SHOWN].decode("utf-8", "replace"))},
    )


def add_checkpoint(
    url: str, *, old_size: int, proof: Sequence[bytes], checkpoint: bytes, timeout: float = 10.0
) -> list[str]:
    """Asks a witness to cosign a checkpoint. Blocks: call it from a thread, not from an event loop.

    Args:
        url: the witness's submission prefix: `https://`, or `http://` on this machine. Proxies and authorities of
            the environment count, `HTTPS_PROXY` and `SSL_CERT_FILE`, but not on this machine.
        old_size: the size that this witness cosigned last, 0 if unknown.
        proof: RFC 6962 consistency proof from there, SHA-256; empty if `old_size` is 0 or the new size.
        checkpoint: the signed note, best with the owner's signature alone: witnesses limit requests.
        timeout: seconds for the whole exchange.

    Returns:
        The signature lines, without newlines, at least one. They are well-formed and not verified, and may
        be by keys that nobody here knows: `atoll.ledger.cosignature.verify` each that is by the witness's
        key, ignore the others.

    Raises:
        OldSizeRefused: `E_STATE`, with the size that the witness cosigned last.
        AtollError: `E_LEDGER` if it sees no consistency, `E_SIGNATURE` or `E_NOT_FOUND` if it does not know
            the key or the log, `E_BUSY` if it asks to wait, `E_WIRE` or `E_TOO_LARGE` for an answer that is
            none, `E_UNREACHABLE` if there is no answer in time, no valid certificate, or a redirect;
            `E_FORMAT` for arguments that cannot be sent.
    """
    address = _address(url)
    body = tlog_witness.encode_request(old_size, proof, checkpoint)
    host = address.host
    try:
        status, media, answer = _run(_exchange(address, body, timeout))
    except (TimeoutError, httpx.TimeoutException):
        text = f"the witness {host} did not answer within {timeout:g} s"
        raise AtollError("E_UNREACHABLE", text, party=host, cure="Ask again later.") from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError) as error:
        # The last three come of a proxy in the environment that cannot be used.
        text = f"the witness {host} cannot be asked ({_clean(str(error)) or type(error).__name__})"
        raise AtollError(
            "E_UNREACHABLE", text, party=host, cure="Check its address and its certificate."
        ) from None
    try:
        if status == 200:
            return tlog_witness.parse_lines(answer)
        if status == 409 and media == tlog_witness.SIZE_TYPE:
            raise OldSizeRefused(host, tlog_witness.parse_size(answer))
    except OldSizeRefused:
        raise
    except AtollError as error:
        raise AtollError(error.code, f"{host}: {error.text}", party=host) from None
    _refuse(host, status, answer)
