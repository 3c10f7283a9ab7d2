"""A standing service: a warm worker at the partner answers many calls under one batched receipt.

    python examples/echo_service.py

The echo service gives back what it was sent; scoring and lookups are called in the same way.
"""

from __future__ import annotations

import time

from atoll.testing import nodes

CALLS = 100


def main() -> None:
    with nodes("alice", "bob") as net:
        agreement = net.agreement({"bob": {"echo": "service"}}, parties=["alice"])
        service = net.alice.analyst.echo(agreement, "echo", purpose="test")

        begun = time.perf_counter()
        for number in range(CALLS):
            payload = f"call {number}".encode()
            assert service.call(payload) == payload
        print(f"{CALLS} calls in {time.perf_counter() - begun:.2f} s")

        job = service.stop().wait()
        receipt = job.receipt(timeout=10)["document"]
        assert receipt["parties"][net.bob.identity]["meters"]["calls"] == CALLS
        print(f"one receipt for {CALLS} calls, outcome {receipt['outcome']}")


if __name__ == "__main__":
    main()
