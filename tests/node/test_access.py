"""Every endpoint with every role and with none; Host and Origin; the reference pages of roles and endpoints."""

from __future__ import annotations

import io
import re
import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from atoll.errors import AtollError
from atoll.node.access import ROLE_MEANING, ROLES
from atoll.node.api import agreements, jobs, ledger, partners, people, rosters, status, tables
from atoll.testing import NodeProcess, nodes

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
_LINE = re.compile(r"^\| `(GET|POST|PUT|DELETE) (/[^`]*)` \|(.*)\|$")


def table() -> dict[tuple[str, str], frozenset[str]]:
    """Roles of each endpoint as docs/reference/roles.md states them: a column for each role, `x` where it may."""
    found = {}
    for line in (REFERENCE / "roles.md").read_text(encoding="utf-8").splitlines():
        match = _LINE.match(line)
        if match:
            marks = [cell.strip() for cell in match[3].split("|")]
            assert len(marks) == len(ROLES), line
            assert set(marks) <= {"x", ""}, line
            found[match[1], match[2]] = frozenset(r for r, m in zip(ROLES, marks, strict=True) if m == "x")
    return found


TABLE = table()


@pytest.fixture(scope="module")
def node() -> Iterator[NodeProcess]:
    with nodes("alice", pair=None, settings={"api.origins": ["https://console.bank.example"]}) as net:
        yield net.alice


@pytest.fixture(scope="module")
def http(node: NodeProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=node.url, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def schema(node: NodeProcess, http: httpx.Client) -> dict[str, Any]:
    answer = http.get("/openapi.json", headers=bearer(node.token("auditor")))
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def bad_tokens(node: NodeProcess) -> dict[str, str | None]:
    """Tokens that must open nothing."""
    admin = node.administrator
    for name in ("Retired", "Disabled"):
        admin.persons.add(name)
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    revoked = admin.persons.issue("Retired", "administrator")
    admin.persons.revoke(revoked.split("_")[1])
    disabled = admin.persons.issue("Disabled", "administrator")
    admin.persons.disable("Disabled")
    good = node.token("administrator")
    head, identifier, secret = good.split("_", 2)
    return {
        "none": None,
        "revoked": f"Bearer {revoked}",
        "expired": f"Bearer {admin.persons.issue('Retired', 'administrator', expires=yesterday)}",
        "of a disabled person": f"Bearer {disabled}",
        "another secret": f"Bearer {head}_{identifier}_{'A' * len(secret)}",
        "one letter changed": f"Bearer {good[:-1]}{'A' if good[-1] != 'A' else 'B'}",
        "longer": f"Bearer {good}x",
        "another scheme": f"Basic {good}",
        "no scheme": good,
        "empty": "Bearer",
        "huge": "Bearer atoll_" + "a" * 5000,
    }


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def send(http: httpx.Client, method: str, path: str, headers: dict[str, str]) -> httpx.Response:
    """A call that changes nothing that matters: names of things that are not there, and an empty body."""
    filled = re.sub(r"\{[^}]*\}", "not-there", path)
    return http.request(method, filled, headers=headers, json={} if method in ("POST", "PUT") else None)


def code(answer: httpx.Response) -> str | None:
    if answer.headers.get("content-type") != "application/problem+json":
        return None
    found: str = answer.json()["code"]
    return found


def test_the_roles_page_equals_the_schema(schema: dict[str, Any]) -> None:
    real = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            assert "x-roles" in operation, f"{method} {path} states no roles"
            real[method.upper(), path] = frozenset(operation["x-roles"])
    assert real == TABLE


def test_every_route_is_registered_with_its_roles() -> None:
    for part in (status, people, partners, rosters, tables, agreements, jobs, ledger):
        for route in part.router.routes:
            roles = route.openapi_extra["x-roles"]  # type: ignore[attr-defined]
            assert set(roles) <= set(ROLES)
            guarded = any("needs" in str(d.dependency) for d in route.dependencies)  # type: ignore[attr-defined]
            assert guarded == bool(roles), f"{route.path} says {roles}"  # type: ignore[attr-defined]


def test_only_health_is_open(schema: dict[str, Any]) -> None:
    assert [key for key, roles in TABLE.items() if not roles] == [("GET", "/health")]


def test_changes_are_kept_from_those_who_only_look() -> None:
    looking = {
        ("POST", "/v1/policy/explain"),  # nothing runs
        ("POST", "/v1/jobs/estimate"),
        ("POST", "/v1/data/{name}/verify"),
        ("POST", "/v1/audit/replays"),  # runs apart, and changes no job; a host is for stewards
        ("POST", "/v1/audit/replays/{identifier}/cancel"),
        ("POST", "/v1/rosters/read"),
        ("POST", "/v1/scripts/{package}/review"),  # the page within bounds that are tried
    }
    for (method, path), roles in TABLE.items():
        if method != "GET" and (method, path) not in looking:
            assert "auditor" not in roles, f"{method} {path}"
    assert TABLE["POST", "/v1/jobs/{job}/approve"] == {"steward"}
    assert "operator" not in TABLE["GET", "/v1/jobs/{job}/result"]


@pytest.mark.parametrize(("method", "path"), sorted(TABLE), ids=lambda v: v)
def test_roles(http: httpx.Client, node: NodeProcess, method: str, path: str) -> None:
    allowed = TABLE[method, path]
    for role in ROLES:
        answer = send(http, method, path, bearer(node.token(role)))
        if not allowed or role in allowed:
            assert code(answer) not in ("E_ROLE", "E_AUTH", "E_INTERNAL"), f"{role}: {answer.text}"
            assert answer.status_code not in (401, 500), f"{role}: {answer.text}"
        else:
            assert (answer.status_code, code(answer)) == (403, "E_ROLE"), f"{role}: {answer.text}"


@pytest.mark.parametrize(("method", "path"), sorted(TABLE), ids=lambda v: v)
def test_bad_tokens(http: httpx.Client, bad_tokens: dict[str, str | None], method: str, path: str) -> None:
    everywhere = ("none", "revoked", "expired", "one letter changed")
    wanted = bad_tokens if path in ("/v1/node", "/v1/tokens", "/v1/jobs", "/health") else everywhere
    for what in wanted:
        header = bad_tokens[what]
        answer = send(http, method, path, {"authorization": header} if header is not None else {})
        if path == "/health":
            assert answer.json() == {"status": "ok"}
        else:
            assert (answer.status_code, code(answer)) == (401, "E_AUTH"), f"{what}: {answer.text}"
            assert answer.headers["www-authenticate"] == "Bearer"
            assert "not-there" not in answer.text, "what exists is not told without a token"


def test_what_is_no_endpoint_needs_a_token_too(http: httpx.Client, node: NodeProcess) -> None:
    assert code(http.get("/v1/nothing")) == "E_AUTH"
    assert code(http.get("/openapi.json")) == "E_AUTH"
    assert code(http.get("/docs")) == "E_AUTH"
    assert code(http.get("/v1/nothing", headers=bearer(node.token("auditor")))) == "E_NOT_FOUND"
    assert code(http.patch("/v1/jobs", headers=bearer(node.token("auditor")))) == "E_NOT_FOUND"


@pytest.mark.parametrize(
    "host", ["atoll.evil.example", "127.0.0.1.evil.example", "", "localhost.", "[::1", "0"]
)
def test_foreign_host_is_refused_before_the_token(http: httpx.Client, node: NodeProcess, host: str) -> None:
    for headers in ({}, bearer(node.token("administrator"))):
        answer = http.get("/v1/node", headers={"host": host, **headers})
        assert (answer.status_code, code(answer)) == (403, "E_HOST")
    assert code(http.get("/health", headers={"host": host})) == "E_HOST"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:1", "https://console.bank.example.evil"]
)
def test_foreign_origin_is_refused(http: httpx.Client, node: NodeProcess, origin: str) -> None:
    answer = http.get("/v1/node", headers={"origin": origin, **bearer(node.token("administrator"))})
    assert (answer.status_code, code(answer)) == (403, "E_ORIGIN")


def test_own_and_listed_origins_pass(http: httpx.Client, node: NodeProcess) -> None:
    for origin in (node.url, "https://console.bank.example"):
        answer = http.get("/v1/node", headers={"origin": origin, **bearer(node.token("administrator"))})
        assert answer.status_code == 200


def test_refused_calls_are_in_the_access_log(http: httpx.Client, node: NodeProcess) -> None:
    send(http, "POST", "/v1/tokens", bearer(node.token("analyst")))
    entry = node.administrator.access_log(limit=1)[0]
    assert (entry["person"], entry["role"]) == ("alice analyst", "analyst")
    assert (entry["action"], entry["status"], entry["code"]) == ("POST /v1/tokens", 403, "E_ROLE")


def test_a_token_ends_at_its_time_whatever_its_form(node: NodeProcess) -> None:
    admin = node.administrator
    for wrong in ("tomorrow", "2999-01-01", "9999", "2026-11-23T16:30:00"):
        with pytest.raises(AtollError) as caught:
            admin.persons.issue("alice analyst", "analyst", expires=wrong)
        assert caught.value.code == "E_FORMAT", wrong
    admin.persons.issue("alice analyst", "analyst", expires="2999-01-01T00:00:00Z")
    stored = next(p for p in admin.persons.list() if p["name"] == "alice analyst")["tokens"][-1]
    assert stored["expires"] == "2999-01-01T00:00:00.000Z", "stored in the form that sorts as text"


def test_no_token_is_stored(node: NodeProcess) -> None:
    secret = node.token("steward").encode()
    for file in node.folder.glob("state.sqlite*"):
        assert secret not in file.read_bytes()
        assert secret.rpartition(b"_")[2] not in file.read_bytes()
    assert secret.decode() not in node.log()


def test_an_oversized_body_is_refused_with_and_without_its_length(
    http: httpx.Client, node: NodeProcess
) -> None:
    headers = bearer(node.token("analyst"))
    answer = http.post("/v1/jobs", headers=headers, content=b" " * (9 << 20))
    assert (answer.status_code, code(answer)) == (413, "E_TOO_LARGE")
    pieces = (
        b" " * (1 << 20) for _ in range(9)
    )  # a generator goes out in chunks, with no length said before
    answer = http.post("/v1/jobs", headers=headers, content=pieces)
    assert (answer.status_code, code(answer)) == (413, "E_TOO_LARGE")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"a": NaN}', b"[" * 100_000])
def test_bodies_that_are_no_objects(http: httpx.Client, node: NodeProcess, body: bytes) -> None:
    headers = {**bearer(node.token("analyst")), "content-type": "application/json"}
    answer = http.post("/v1/jobs", headers=headers, content=body)
    assert (answer.status_code, code(answer)) == (422, "E_FORMAT"), answer.text


def test_an_upload_that_is_no_table_is_refused_as_that(http: httpx.Client, node: NodeProcess) -> None:
    for body in (b"", b"id,debt\n1,2\n", b"\xff" * 100):
        answer = http.put("/v1/data/nothing", headers=bearer(node.token("steward")), content=body)
        assert (answer.status_code, code(answer)) == (422, "E_FORMAT"), answer.text
    assert node.steward.data.list() == []


def test_an_upload_that_breaks_off_leaves_no_table(node: NodeProcess) -> None:
    """An Arrow stream may end after any batch, so half an upload looks like a whole one."""
    sink = io.BytesIO()
    writer = pa.ipc.new_stream(sink, pa.schema([("id", pa.string())]))
    writer.write_table(pa.table({"id": ["1", "2"]}))
    half = sink.getvalue()
    host, _, port = node.url.removeprefix("http://").partition(":")
    for encoding, body in (
        ("Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(half), half)),
        (f"Content-Length: {len(half) + 100}", half),
    ):
        head = (
            f"PUT /v1/data/half HTTP/1.1\r\nHost: {host}:{port}\r\n"
            f"Authorization: Bearer {node.token('steward')}\r\n{encoding}\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as sock:
            sock.sendall(head.encode() + body)
            time.sleep(0.3)
    time.sleep(0.7)
    assert node.steward.data.list() == []
    assert "E_INTERNAL" not in node.log()
    assert list((node.folder / "data").glob("half*")) == []


def test_the_roles_page_says_what_each_role_is_for() -> None:
    text = (REFERENCE / "roles.md").read_text(encoding="utf-8")
    for role, meaning in ROLE_MEANING.items():
        assert f"- `{role}`: {meaning}" in text


def test_the_rest_page_has_every_endpoint(schema: dict[str, Any]) -> None:
    text = (REFERENCE / "rest.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^### `(\S+ \S+)`$", text, re.MULTILINE))
    real = {f"{m.upper()} {path}" for path, operations in schema["paths"].items() for m in operations}
    assert shown == real
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            part = text.split(f"### `{method.upper()} {path}`\n", 1)[1].split("\n### ", 1)[0]
            first = operation["description"].split("\n")[0]
            assert first in part, f"{method} {path}"
            for parameter in operation.get("parameters", []):
                assert f"`{parameter['name']}`" in part, f"{method} {path}: {parameter['name']}"
            reference = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            model = reference.get("schema", {}).get("$ref", "").rpartition("/")[2]
            for field in schema["components"]["schemas"].get(model, {}).get("properties", {}):
                assert f"`{field}`" in part, f"{method} {path}: body field {field}"
