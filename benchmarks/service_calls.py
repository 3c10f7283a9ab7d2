"""Calls of a standing echo service through the asker's REST API: rate and latency.

python benchmarks/service_calls.py [--calls 1000] [--callers 1,4,16] [--bytes 100]
"""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

from harness.measure import Meter
from harness.report import Report, Row, numbers, parser

from atoll.client import Service
from atoll.testing import Net, nodes


def run(net: Net, services: list[Service], calls: int, size: int) -> Row:
    """So many calls, spread over callers with a connection each."""
    payload = os.urandom(size)

    def caller(service: Service) -> list[float]:
        took = []
        for _ in range(calls // len(services)):
            begun = time.perf_counter()
            answer = service.call(payload)
            took.append(time.perf_counter() - begun)
            assert answer == payload
        return took

    with Meter([node.pid for node in net]) as meter, ThreadPoolExecutor(len(services)) as pool:
        times = sorted(t for part in pool.map(caller, services) for t in part)
    return {
        "callers": len(services),
        "calls": len(times),
        "bytes": size,
        "calls/s": len(times) / meter.wall,
        "p50 ms": statistics.median(times) * 1e3,
        "p99 ms": times[min(int(len(times) * 0.99), len(times) - 1)] * 1e3,
        "max ms": times[-1] * 1e3,
    }


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--calls", type=int, default=1000)
    arguments.add_argument("--callers", type=numbers, default=[1, 4, 16])
    arguments.add_argument("--bytes", type=int, default=100, help="payload of a call, at most 4096")
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    report = Report("service_calls", ["callers", "calls", "bytes", "calls/s", "p50 ms", "p99 ms", "max ms"])
    with nodes("alice", "bob", settings={"logs.level": "info"}, warm=False) as net:
        agreement = net.agreement({"bob": {"echo": "service"}}, parties=["alice"])
        service = net.alice.analyst.echo(agreement, "echo", purpose="test")
        for callers in options.callers:
            # A client for each caller: connections are not shared between threads.
            clients = [net.alice.client("analyst", f"caller {number}") for number in range(callers)]
            services = [client.services.get(service.id) for client in clients]
            for each in services:
                each.call(b"warm")
            report.repeat(options.repeats, lambda _, s=services: run(net, s, options.calls, options.bytes))
        job = service.stop().wait()
        assert job.state == "completed"


if __name__ == "__main__":
    main()
