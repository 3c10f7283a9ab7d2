"""One party of the peer's PSI; runs in the peer's own environment, where nothing of ours is installed."""

import json
import resource
import sys
import time

STARTED = time.perf_counter()


def main() -> None:
    task = json.loads(sys.argv[1])
    from spu import libspu, psi

    quiet = libspu.logging.LogOptions()
    quiet.enable_console_logger = False
    quiet.log_level = libspu.logging.LogLevel.ERROR
    libspu.logging.setup_logging(quiet)

    line = libspu.link.Desc()
    line.recv_timeout_ms = 600_000
    for number, address in enumerate(task["addresses"]):
        line.add_party(f"party{number}", address)
    link = libspu.link.create_brpc(line, task["rank"])
    link.barrier()

    ecdh = task["protocol"] == "ECDH"
    curve = psi.EcdhParams(curve=psi.parse_curve_type("CURVE_25519")) if ecdh else psi.EcdhParams()
    # The name is the library's own.
    lean = psi.Rr22Rarams(low_comm_mode=bool(task.get("low_communication")))
    config = psi.PsiExecuteConfig(
        protocol_conf=psi.PsiProtocolConfig(
            protocol=psi.parse_protocol(f"PROTOCOL_{task['protocol']}"),
            receiver_rank=0,
            broadcast_result=False,
            ecdh_params=curve,
            rr22_params=lean,
        ),
        input_params=psi.InputParams(path=task["input"], selected_keys=["id"]),
        output_params=psi.OutputParams(path=task["output"]),
    )
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    psi.psi_execute(config, link)
    closed, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    link.stop_link()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = {
        "started": STARTED,
        "closed": closed,
        "wall": closed - begun,
        "cpu": cpu,
        "peak": after.ru_maxrss << 10,
    }
    print("\nRESULT " + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
