"""The same abstract actions by three ways: the command line, the SDK, and bare HTTP.

Every action gives plain JSON values, or raises the error that this way shows.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa

from atoll import AtollError
from atoll.client import ENDED
from atoll.testing import NodeProcess

Json = dict[str, Any]
WAIT = 60.0


class Driver:
    """The actions. `role` and `person` say as whom; the person defaults to the role's own at that node."""

    name: str

    def add(self, node: NodeProcess, name: str, path: Path, declaration: Path | None = None) -> Json:
        raise NotImplementedError

    def refresh(self, node: NodeProcess, name: str) -> Json:
        raise NotImplementedError

    def propose(self, node: NodeProcess, document: Json) -> str:
        raise NotImplementedError

    def sign(self, node: NodeProcess, agreement: str) -> None:
        raise NotImplementedError

    def revoke(self, node: NodeProcess, agreement: str, reason: str) -> None:
        raise NotImplementedError

    def ask(self, node: NodeProcess, request: Json, role: str = "analyst", person: str | None = None) -> str:
        """Proposes a job and gives its identifier at once."""
        raise NotImplementedError

    def wait(self, node: NodeProcess, job: str) -> None:
        """Waits for the end; raises the reason of a job that did not complete."""
        raise NotImplementedError

    def job(self, node: NodeProcess, job: str, role: str = "analyst") -> Json:
        raise NotImplementedError

    def approve(self, node: NodeProcess, job: str, role: str = "steward", person: str | None = None) -> None:
        raise NotImplementedError

    def refuse(self, node: NodeProcess, job: str, reason: str) -> None:
        raise NotImplementedError

    def cancel(self, node: NodeProcess, job: str) -> None:
        raise NotImplementedError

    def rows(self, node: NodeProcess, job: str) -> list[Json]:
        """The rows of the result."""
        raise NotImplementedError

    def receipt(self, node: NodeProcess, job: str) -> Json:
        raise NotImplementedError

    def replay(
        self,
        node: NodeProcess,
        job: str,
        role: str = "auditor",
        threads: int | None = None,
        at: str | None = None,
    ) -> Json:
        """Runs the node's side of a job again and gives the replay with its report."""
        raise NotImplementedError

    def explain(self, node: NodeProcess, job: str) -> Json:
        raise NotImplementedError

    def estimate(self, node: NodeProcess, request: Json) -> Json:
        raise NotImplementedError

    def call(self, node: NodeProcess, job: str, payload: bytes, role: str = "application") -> bytes:
        raise NotImplementedError

    def stop(self, node: NodeProcess, job: str) -> None:
        """Ends a service and waits for its end."""
        raise NotImplementedError

    def schedule(self, node: NodeProcess, request: Json, every: int) -> str:
        raise NotImplementedError

    def schedules(self, node: NodeProcess) -> list[Json]:
        raise NotImplementedError

    def end_schedule(self, node: NodeProcess, identifier: str) -> None:
        raise NotImplementedError

    def export(self, node: NodeProcess, agreement: str, path: Path) -> None:
        raise NotImplementedError

    def accept(self, node: NodeProcess, invite: str) -> Json:
        raise NotImplementedError

    def roster(
        self, node: NodeProcess, act: str, *what: Any, role: str = "administrator", **how: Any
    ) -> Json:
        """An act on a roster; name and arguments as in the SDK, where cards and files are JSON values."""
        raise NotImplementedError

    def whoami(self, node: NodeProcess, token: str) -> Json:
        """What the node says of itself and of the token's person."""
        raise NotImplementedError


class Sdk(Driver):
    """The SDK."""

    name = "sdk"

    def add(self, node: NodeProcess, name: str, path: Path, declaration: Path | None = None) -> Json:
        words = json.loads(declaration.read_text()) if declaration else None
        return node.steward.data.add(name, path, declaration=words)

    def refresh(self, node: NodeProcess, name: str) -> Json:
        return node.steward.data.refresh(name)

    def propose(self, node: NodeProcess, document: Json) -> str:
        return str(node.steward.agreements.propose(document)["id"])

    def sign(self, node: NodeProcess, agreement: str) -> None:
        node.steward.agreements.sign(agreement)

    def revoke(self, node: NodeProcess, agreement: str, reason: str) -> None:
        node.steward.agreements.revoke(agreement, reason)

    def ask(self, node: NodeProcess, request: Json, role: str = "analyst", person: str | None = None) -> str:
        return node.client(role, person).jobs.ask(request).id  # type: ignore[arg-type]

    def wait(self, node: NodeProcess, job: str) -> None:
        node.analyst.jobs.get(job).wait(timeout=WAIT)

    def job(self, node: NodeProcess, job: str, role: str = "analyst") -> Json:
        return node.client(role).jobs.get(job).document  # type: ignore[arg-type]

    def approve(self, node: NodeProcess, job: str, role: str = "steward", person: str | None = None) -> None:
        node.client(role, person).jobs.get(job).approve()  # type: ignore[arg-type]

    def refuse(self, node: NodeProcess, job: str, reason: str) -> None:
        node.steward.jobs.get(job).refuse(reason)

    def cancel(self, node: NodeProcess, job: str) -> None:
        node.analyst.jobs.get(job).cancel()

    def rows(self, node: NodeProcess, job: str) -> list[Json]:
        return node.analyst.jobs.get(job).result().arrow().to_pylist()  # type: ignore[no-any-return]

    def receipt(self, node: NodeProcess, job: str) -> Json:
        return node.auditor.jobs.get(job).receipt(timeout=20)

    def replay(
        self,
        node: NodeProcess,
        job: str,
        role: str = "auditor",
        threads: int | None = None,
        at: str | None = None,
    ) -> Json:
        return node.client(role).audit.replay(job, threads=threads, at=at, timeout=WAIT)  # type: ignore[arg-type]

    def explain(self, node: NodeProcess, job: str) -> Json:
        return node.steward.jobs.get(job).explain()

    def estimate(self, node: NodeProcess, request: Json) -> Json:
        return node.analyst.jobs.estimate(request)

    def call(self, node: NodeProcess, job: str, payload: bytes, role: str = "application") -> bytes:
        return node.client(role).services.get(job).call(payload)  # type: ignore[arg-type]

    def stop(self, node: NodeProcess, job: str) -> None:
        node.analyst.services.get(job).stop().wait(timeout=WAIT)

    def schedule(self, node: NodeProcess, request: Json, every: int) -> str:
        return str(node.analyst.schedules.add(request, every)["id"])

    def schedules(self, node: NodeProcess) -> list[Json]:
        return node.operator.schedules.list()

    def end_schedule(self, node: NodeProcess, identifier: str) -> None:
        node.operator.schedules.end(identifier)

    def export(self, node: NodeProcess, agreement: str, path: Path) -> None:
        node.auditor.ledger.export(agreement, path)

    def accept(self, node: NodeProcess, invite: str) -> Json:
        return node.administrator.peers.accept(invite)

    def roster(
        self, node: NodeProcess, act: str, *what: Any, role: str = "administrator", **how: Any
    ) -> Json:
        found: Json = getattr(node.client(role).rosters, act)(*what, **how)  # type: ignore[arg-type]
        return found

    def whoami(self, node: NodeProcess, token: str) -> Json:
        import atoll

        with atoll.connect(node.url, token) as client:
            return client.info()


class Rest(Driver):
    """Bare HTTP, as a program in any language would call it."""

    name = "rest"

    def _send(
        self, node: NodeProcess, role: str, method: str, path: str, body: Any = None, person: str | None = None,
        token: str | None = None, **options: Any,
    ) -> httpx.Response:  # fmt: skip
        token = token or node.token(role, person)  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        with httpx.Client(base_url=node.url, trust_env=False, timeout=60) as http:
            answer = http.request(method, path, json=body, headers=headers, **options)
        if answer.is_error:
            assert answer.headers["content-type"] == "application/problem+json"
            problem = answer.json()
            assert problem["status"] == answer.status_code
            raise AtollError.from_problem(problem)
        return answer

    def add(self, node: NodeProcess, name: str, path: Path, declaration: Path | None = None) -> Json:
        words = json.loads(declaration.read_text()) if declaration else None
        body = {"name": name, "source": {"path": str(path)}, "declaration": words}
        return self._send(node, "steward", "POST", "/v1/data", body).json()

    def refresh(self, node: NodeProcess, name: str) -> Json:
        return self._send(node, "steward", "POST", f"/v1/data/{name}/refresh").json()

    def propose(self, node: NodeProcess, document: Json) -> str:
        return str(self._send(node, "steward", "POST", "/v1/agreements", document).json()["id"])

    def sign(self, node: NodeProcess, agreement: str) -> None:
        self._send(node, "steward", "POST", f"/v1/agreements/{agreement}/sign")

    def revoke(self, node: NodeProcess, agreement: str, reason: str) -> None:
        self._send(node, "steward", "POST", f"/v1/agreements/{agreement}/revoke", {"reason": reason})

    def ask(self, node: NodeProcess, request: Json, role: str = "analyst", person: str | None = None) -> str:
        return str(self._send(node, role, "POST", "/v1/jobs", request, person).json()["id"])

    def wait(self, node: NodeProcess, job: str) -> None:
        end = time.monotonic() + WAIT
        while True:
            found = self.job(node, job)
            if found["state"] == "completed":
                return
            if found["state"] in ENDED:
                raise AtollError.from_problem(found["error"])
            assert time.monotonic() < end, f"{job} is still {found['state']}"
            time.sleep(0.05)

    def job(self, node: NodeProcess, job: str, role: str = "analyst") -> Json:
        return self._send(node, role, "GET", f"/v1/jobs/{job}").json()

    def approve(self, node: NodeProcess, job: str, role: str = "steward", person: str | None = None) -> None:
        self._send(node, role, "POST", f"/v1/jobs/{job}/approve", person=person)

    def refuse(self, node: NodeProcess, job: str, reason: str) -> None:
        self._send(node, "steward", "POST", f"/v1/jobs/{job}/refuse", {"reason": reason})

    def cancel(self, node: NodeProcess, job: str) -> None:
        self._send(node, "analyst", "POST", f"/v1/jobs/{job}/cancel")

    def rows(self, node: NodeProcess, job: str) -> list[Json]:
        body = self._send(node, "analyst", "GET", f"/v1/jobs/{job}/result").content
        with pa.ipc.open_file(io.BytesIO(body)) as reader:
            return reader.read_all().to_pylist()  # type: ignore[no-any-return]

    def receipt(self, node: NodeProcess, job: str) -> Json:
        end = time.monotonic() + 20
        while True:
            found: Json = self._send(node, "auditor", "GET", f"/v1/jobs/{job}/receipt").json()
            if not found["missing"] or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def replay(
        self,
        node: NodeProcess,
        job: str,
        role: str = "auditor",
        threads: int | None = None,
        at: str | None = None,
    ) -> Json:
        body = {"job": job, "threads": threads, "at": at}
        begun = self._send(node, role, "POST", "/v1/audit/replays", body).json()
        end = time.monotonic() + WAIT
        while True:
            found: Json = self._send(node, role, "GET", f"/v1/audit/replays/{begun['id']}").json()
            if found["error"] is not None:
                raise AtollError.from_problem(found["error"])
            if found["state"] != "running" or time.monotonic() > end:
                return found
            time.sleep(0.05)

    def explain(self, node: NodeProcess, job: str) -> Json:
        return self._send(node, "steward", "GET", f"/v1/jobs/{job}/explain").json()

    def estimate(self, node: NodeProcess, request: Json) -> Json:
        return self._send(node, "analyst", "POST", "/v1/jobs/estimate", request).json()

    def call(self, node: NodeProcess, job: str, payload: bytes, role: str = "application") -> bytes:
        body = {"payload": base64.b64encode(payload).decode()}
        answer = self._send(node, role, "POST", f"/v1/services/{job}/call", body).json()
        return base64.b64decode(answer["payload"])

    def stop(self, node: NodeProcess, job: str) -> None:
        self._send(node, "analyst", "POST", f"/v1/services/{job}/stop")
        self.wait(node, job)

    def schedule(self, node: NodeProcess, request: Json, every: int) -> str:
        body = {"request": request, "every_seconds": every}
        return str(self._send(node, "analyst", "POST", "/v1/schedules", body).json()["id"])

    def schedules(self, node: NodeProcess) -> list[Json]:
        return self._send(node, "operator", "GET", "/v1/schedules").json()

    def end_schedule(self, node: NodeProcess, identifier: str) -> None:
        self._send(node, "operator", "DELETE", f"/v1/schedules/{identifier}")

    def export(self, node: NodeProcess, agreement: str, path: Path) -> None:
        path.write_bytes(self._send(node, "auditor", "GET", f"/v1/ledgers/{agreement}/export").content)

    def accept(self, node: NodeProcess, invite: str) -> Json:
        return self._send(node, "administrator", "POST", "/v1/peers/accept", {"invite": invite}).json()

    def roster(
        self, node: NodeProcess, act: str, *what: Any, role: str = "administrator", **how: Any
    ) -> Json:
        def send(method: str, path: str, body: Any = None, **options: Any) -> Any:
            return self._send(node, role, method, f"/v1/rosters{path}", body, **options).json()

        if act == "card":
            return send("GET", "/card")["card"]  # type: ignore[no-any-return]
        if act == "list":
            return send("GET", "")  # type: ignore[no-any-return]
        if act == "new":
            return send("POST", "", {"name": what[0], "cards": what[1], **how})  # type: ignore[no-any-return]
        if act == "read":
            return send("POST", "/read", {"file": what[0]["file"]})  # type: ignore[no-any-return]
        if act == "show":
            return send("GET", f"/{what[0]}", params=how)  # type: ignore[no-any-return]
        if act == "merge":
            return [send("POST", "/import", {"file": w["file"]}) for w in what][-1]  # type: ignore[no-any-return]
        if act == "confirm":
            how["words"] = what[1]
        identifier = what[0]
        if isinstance(identifier, dict):
            kept = send("POST", "/import", {"file": identifier["file"]})
            identifier, how = kept["id"], how | {"digest": kept["digest"]}
        return send("POST", f"/{identifier}/{act}", how)  # type: ignore[no-any-return]

    def whoami(self, node: NodeProcess, token: str) -> Json:
        return self._send(node, "", "GET", "/v1/node", token=token).json()


class Cli(Driver):
    """The command line, each action a process of its own."""

    name = "cli"

    def run(
        self, node: NodeProcess, role: str, *words: str, person: str | None = None, token: str | None = None
    ) -> Any:
        """One command with `--json`; gives what it prints."""
        if token is None:
            who = person or node.person(role)  # type: ignore[arg-type]
            node.token(role, who)  # type: ignore[arg-type]
            access = ["-d", str(node.folder), "--as", f"{who}:{role}"]
        else:
            access = ["--url", node.url, "--token", token]
        command = [sys.executable, "-m", "atoll.cli", *words, *access, "--json"]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            env=node.environment,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode:
            assert done.returncode == 1, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            raise AtollError.from_problem(json.loads(done.stderr.splitlines()[-1]))
        return json.loads(done.stdout)

    def add(self, node: NodeProcess, name: str, path: Path, declaration: Path | None = None) -> Json:
        words = ["--declare", str(declaration)] if declaration else []
        return self.run(node, "steward", "data", "add", name, str(path), *words)

    def refresh(self, node: NodeProcess, name: str) -> Json:
        return self.run(node, "steward", "data", "refresh", name)

    def propose(self, node: NodeProcess, document: Json) -> str:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "draft.json"
            file.write_text(json.dumps(document))
            return str(self.run(node, "steward", "agreement", "propose", str(file))["id"])

    def sign(self, node: NodeProcess, agreement: str) -> None:
        self.run(node, "steward", "agreement", "sign", agreement)

    def revoke(self, node: NodeProcess, agreement: str, reason: str) -> None:
        self.run(node, "steward", "agreement", "revoke", agreement, "--reason", reason)

    def ask(self, node: NodeProcess, request: Json, role: str = "analyst", person: str | None = None) -> str:
        words = [*arguments(request), "--yes", "--no-wait"]
        return str(self.run(node, role, *words, person=person)["id"])

    def wait(self, node: NodeProcess, job: str) -> None:
        self.run(node, "analyst", "job", "wait", job)

    def job(self, node: NodeProcess, job: str, role: str = "analyst") -> Json:
        return self.run(node, role, "job", "show", job)

    def approve(self, node: NodeProcess, job: str, role: str = "steward", person: str | None = None) -> None:
        self.run(node, role, "approve", job, "--yes", person=person)

    def refuse(self, node: NodeProcess, job: str, reason: str) -> None:
        self.run(node, "steward", "refuse", job, "--reason", reason)

    def cancel(self, node: NodeProcess, job: str) -> None:
        self.run(node, "analyst", "job", "cancel", job)

    def rows(self, node: NodeProcess, job: str) -> list[Json]:
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "result.arrow")
            self.run(node, "analyst", "job", "result", job, "--out", file)
            with pa.ipc.open_file(file) as reader:
                return reader.read_all().to_pylist()  # type: ignore[no-any-return]

    def receipt(self, node: NodeProcess, job: str) -> Json:
        return self.run(node, "auditor", "job", "receipt", job, "--timeout", "20")

    def replay(
        self,
        node: NodeProcess,
        job: str,
        role: str = "auditor",
        threads: int | None = None,
        at: str | None = None,
    ) -> Json:
        words = [] if threads is None else ["--threads", str(threads)]
        words += [] if at is None else ["--at", at]
        return self.run(node, role, "audit", "replay", job, *words)

    def explain(self, node: NodeProcess, job: str) -> Json:
        return self.run(node, "steward", "policy", "explain", job)

    def estimate(self, node: NodeProcess, request: Json) -> Json:
        return self.run(node, "analyst", *arguments(request), "--estimate")

    def call(self, node: NodeProcess, job: str, payload: bytes, role: str = "application") -> bytes:
        return str(self.run(node, role, "echo", "call", job, payload.decode())["answer"]).encode()

    def stop(self, node: NodeProcess, job: str) -> None:
        self.run(node, "analyst", "echo", "stop", job)

    def schedule(self, node: NodeProcess, request: Json, every: int) -> str:
        return str(self.run(node, "analyst", *arguments(request), "--yes", "--every", str(every))["id"])

    def schedules(self, node: NodeProcess) -> list[Json]:
        return self.run(node, "operator", "schedule", "list")

    def end_schedule(self, node: NodeProcess, identifier: str) -> None:
        self.run(node, "operator", "schedule", "end", identifier)

    def export(self, node: NodeProcess, agreement: str, path: Path) -> None:
        self.run(node, "auditor", "ledger", "export", agreement, "--out", str(path))

    def accept(self, node: NodeProcess, invite: str) -> Json:
        return self.run(node, "administrator", "peer", "accept", invite)

    def roster(
        self, node: NodeProcess, act: str, *what: Any, role: str = "administrator", **how: Any
    ) -> Json:
        with tempfile.TemporaryDirectory() as folder:

            def word(value: Any) -> str:
                """A card or roster as a file, anything else as itself."""
                if not isinstance(value, dict):
                    return str(value)
                file = Path(folder) / f"{len(os.listdir(folder))}.json"
                file.write_text(json.dumps(value.get("file") or value.get("card") or value))
                return str(file)

            words: list[str] = [act if act != "read" else "show"]
            if act == "new":
                how, what = {"name": what[0], **how}, tuple(what[1])
            words += [word(w) for w in what]
            for name, value in how.items():
                for one in value if isinstance(value, list) else [value]:
                    words += [f"--{name}", word(one)]
            return self.run(node, role, "roster", *words)  # type: ignore[no-any-return]

    def whoami(self, node: NodeProcess, token: str) -> Json:
        return self.run(node, "", "status", token=token)


def arguments(request: Json) -> list[str]:
    """A request as the words of the command that makes the same request."""

    def table(body: Json) -> str:
        return f"{body['asset']}@{body['party']}" if "party" in body else str(body["asset"])

    words = [request["function"], request["agreement"]]
    if request["function"] == "join":
        left, right = request["left"], request["right"]
        words += [table(left), table(right)]
        words += ["--left-on", ",".join(left["keys"]), "--right-on", ",".join(right["keys"])]
        words += ["--receivers", request["receivers"], "--reveal", request["reveal"]]
        words += ["--duplicates", request["duplicates"]]
        for column, steps in request.get("normalise", {}).items():
            words += ["--normalise", f"{column}={'+'.join(steps)}"]
        for option in ("protocol", "security", "variant"):
            words += [f"--{option}", request[option]] if option in request else []
        if "select" in left:
            words += ["--select", ",".join(left["select"])]
    elif request["function"] in ("join_totals", "join_statistics"):
        left, right = request["left"], request["right"]
        words[0] = "join"
        words += [table(left), table(right)]
        words += ["--left-on", ",".join(left["keys"]), "--right-on", ",".join(right["keys"])]
        added = [f"{side}.{name}" for side in ("left", "right") for name in request[side].get("values", [])]
        words += ["--aggregate", ",".join(["count", *added, *map(statistic, request.get("statistics", []))])]
        receivers = request["receivers"]
        words += ["--receivers", receivers if isinstance(receivers, str) else ",".join(receivers)]
        for option in ("repeated", "multiplicity", "minimum_group", "maximum_rows"):
            words += [f"--{option.replace('_', '-')}", str(request[option])] if option in request else []
        for column, steps in request.get("normalise", {}).items():
            words += ["--normalise", f"{column}={'+'.join(steps)}"]
    elif request["function"] == "intersect":
        words += [table(t) for t in request["tables"]]
        words += ["--on", ",".join(request["tables"][0]["keys"])]
        words += ["--leader", request["leader"], "--reveal", request["reveal"]]
        words += ["--everyone"] if request["everyone"] else []
        words += ["--duplicates", request["duplicates"]]
        for column, steps in request.get("normalise", {}).items():
            words += ["--normalise", f"{column}={'+'.join(steps)}"]
        if "select" in request["tables"][0]:
            words += ["--select", ",".join(request["tables"][0]["select"])]
    elif request["function"] == "totals":
        assets = request["assets"]
        words += [assets] if isinstance(assets, str) else [table(a) for a in assets]
        words += [w for name in request["values"] for w in ("--values", name)]
        words += ["--receiver", request["receiver"]]
        for option in ("group", "subject"):
            words += [f"--{option}", request[option]] if option in request else []
    else:
        words[:1] = ["echo", "start"]
        words += [table(request)]
        words += ["--maximum-bytes", str(request["maximum_bytes"])] if "maximum_bytes" in request else []
        words += ["--block-calls", str(request["block_calls"])] if "block_calls" in request else []
    return [*words, "--purpose", request["purpose"]]


def statistic(asked: Json) -> str:
    """A statistic of a request as the command line has it."""
    more = asked.get("cuts") or asked.get("codes") or []
    return f"{asked['statistic']}({','.join([*asked['columns'], *more])})"


DRIVERS: tuple[Driver, ...] = (Cli(), Sdk(), Rest())
