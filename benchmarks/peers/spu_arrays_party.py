"""One party of the peer's arithmetic on shares; runs in the peer's own environment, where nothing of ours is."""

import json
import os
import resource
import sys
import time
from pathlib import Path
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


def _write(file: Path, parts: list[bytes]) -> None:
    file.write_bytes(b"".join(len(part).to_bytes(8, "big") + part for part in parts))


def _read(file: Path) -> list[bytes]:
    data, parts = file.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "big")
        parts.append(data[8 : 8 + size])
        data = data[8 + size :]
    return parts


def _config(protocol: str) -> Any:
    from spu import libspu

    config = libspu.RuntimeConfig(
        protocol=getattr(libspu.ProtocolKind, protocol), field=libspu.FieldType.FM64
    )
    config.fxp_fraction_bits = 18
    return config


def _share(task: dict[str, Any]) -> None:
    """Every party's shares of the inputs, into files of a folder."""
    import spu
    from spu import libspu

    parties = len(task["addresses"])
    io = spu.Io(parties, _config(task["protocol"]))
    for number, value in enumerate(_program(task["operation"], task["size"])[1]):
        for rank, share in enumerate(io.make_shares(value, libspu.Visibility.VIS_SECRET)):
            _write(Path(task["shares"]) / f"x{number}-{rank}", [share.meta, *share.share_chunks])
    print("\nRESULT " + json.dumps({"started": STARTED, "closed": time.perf_counter()}), flush=True)


def main() -> None:
    task = json.loads(sys.argv[1])
    if task["rank"] < 0:
        _share(task)
        return
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
    runtime = spu.Runtime(link, _config(task["protocol"]))
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
    for name in names:
        share = libspu.Share()
        share.meta, *share.share_chunks = _read(Path(task["shares"]) / f"{name}-{task['rank']}")
        runtime.set_var(name, share)
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
