"""One party of the peer's arithmetic on shares; runs in the peer's own environment, where nothing of ours is."""

import json
import os
import resource
import sys
import time
from typing import Any

STARTED = time.perf_counter()
os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _program(name: str, size: int) -> tuple[Any, list[Any]]:
    """A program and its inputs."""
    import jax.numpy as jnp
    import numpy as np

    rng = np.random.default_rng(7)

    def floats(*shape: int) -> Any:
        return rng.uniform(-100, 100, shape).astype(np.float32)

    def ints(most: int) -> Any:
        return rng.integers(0, most, size).astype(np.int32)

    def by_group(keys: Any, values: Any) -> Any:
        return jnp.sum((keys[:, None] == jnp.arange(10, dtype=keys.dtype)[None, :]) * values[:, None], axis=0)

    edge = round(size ** (1 / 3))
    programs: dict[str, tuple[Any, list[Any]]] = {
        "multiply": (lambda x, y: x * y, [floats(size), floats(size)]),
        "multiply integers": (lambda x, y: x * y, [ints(2**30), ints(2**30)]),
        "less": (lambda x, y: x < y, [ints(2**31 - 1), ints(2**31 - 1)]),
        "less of 32 bits": (lambda x, y: x < y, [ints(2**31 - 1), ints(2**31 - 1)]),
        "equal": (lambda x, y: x == y, [ints(2**31 - 1), ints(2**31 - 1)]),
        "matrix and vector": (lambda x, y: x @ y, [floats(size // 100, 100), floats(100, 1)]),
        "matrices": (lambda x, y: x @ y, [floats(edge, edge), floats(edge, edge)]),
        "sort": (jnp.sort, [ints(2**31 - 1)]),
        "sum by public groups": (by_group, [ints(10), ints(2**20)]),
    }
    return programs[name]


def main() -> None:
    task = json.loads(sys.argv[1])
    import spu
    from spu import libspu
    from spu.utils import frontend

    quiet = libspu.logging.LogOptions()
    quiet.enable_console_logger = False
    quiet.log_level = libspu.logging.LogLevel.ERROR
    libspu.logging.setup_logging(quiet)

    line = libspu.link.Desc()
    line.recv_timeout_ms = 900_000
    for number, address in enumerate(task["addresses"]):
        line.add_party(f"party{number}", address)
    link = libspu.link.create_brpc(line, task["rank"])
    config = libspu.RuntimeConfig(
        protocol=getattr(libspu.ProtocolKind, task["protocol"]), field=libspu.FieldType.FM64
    )
    config.fxp_fraction_bits = 18
    runtime = spu.Runtime(link, config)
    program, inputs = _program(task["operation"], task["size"])
    names = [f"x{i}" for i in range(len(inputs))]
    secret = libspu.Visibility.VIS_SECRET
    executable, _ = frontend.compile(
        frontend.Kind.JAX,
        program,
        inputs,
        {},
        names,
        [secret] * len(inputs),
        lambda out: [f"y{i}" for i in range(len(out))],
    )
    io = spu.Io(len(task["addresses"]), config)
    for name, value in zip(names, inputs, strict=True):
        # Each party makes shares of its own: what they add up to means nothing, and the work is the same.
        runtime.set_var(name, io.make_shares(value, secret)[task["rank"]])
    runs = []
    for turn in range(task["repeats"] + 1):
        link.barrier()
        before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        runtime.run(executable)
        after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - begun
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        if turn:
            runs.append({"wall": wall, "cpu": cpu})
    link.barrier()
    link.stop_link()
    print(
        "\nRESULT " + json.dumps({"started": STARTED, "closed": time.perf_counter(), "runs": runs}),
        flush=True,
    )


if __name__ == "__main__":
    main()
