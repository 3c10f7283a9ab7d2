"""Prometheus metrics of one node. A registry of its own, so that several nodes fit into one test process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """The node's metrics; the names are stable."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.jobs = Counter("atoll_jobs", "Jobs that ended", ["function", "outcome"], registry=self.registry)
        self.running = Gauge("atoll_jobs_running", "Worker processes now running", registry=self.registry)
        self.seconds = Histogram(
            "atoll_job_seconds",
            "From start to end of a job",
            ["function"],
            buckets=(0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000),
            registry=self.registry,
        )
        self.links = Gauge("atoll_peer_links", "Control links to partners now up", registry=self.registry)
        self.refused = Counter(
            "atoll_connections_refused",
            "Connections refused on the partner port",
            ["reason"],
            registry=self.registry,
        )
        self.calls = Counter(
            "atoll_api_calls", "Calls of the REST API", ["action", "status"], registry=self.registry
        )
        self.bytes = Counter(
            "atoll_channel_bytes", "Payload bytes on workers' channels", ["direction"], registry=self.registry
        )
        self.outbox = Gauge("atoll_outbox", "Messages to partners not yet answered", registry=self.registry)
        self.service_calls = Counter(
            "atoll_service_calls",
            "Calls of partners' standing services",
            ["function"],
            registry=self.registry,
        )
        self.answered = Counter(
            "atoll_service_answered",
            "Calls that partners made of this node's services or tables, counted as their blocks close",
            ["function", "partner"],
            registry=self.registry,
        )
        self.quality = Counter(
            "atoll_quality_results",
            "Evaluations of tables' quality rules: holds, broken, refused or failed",
            ["outcome"],
            registry=self.registry,
        )
        self.quality_alerts = Gauge(
            "atoll_quality_alerts", "Quality alerts of which nobody took note", registry=self.registry
        )

        self.forks = Counter(
            "atoll_ledger_forks", "Findings that a log has two histories", registry=self.registry
        )

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
