"""What faults of one of two backends cost callers who read: errors, waiting, and how far deadlines are overrun.

    python benchmarks/faults.py            5 seconds a row
    python benchmarks/faults.py 2          2 seconds a row

Eight callers read one price after the other, each call with a deadline of half a second. One of the two backends,
which are processes, does what the row says: it is stopped (SIGSTOP), answers slowly (each piece held back 300 to
600 ms), flaps (killed and started again), loses connections before and after its work, or is killed. In the last row
both are stopped: every call fails then, and none may outlast its deadline. Beside our channel grpc's own
round_robin, with its health checking, goes through the same.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from fault_proxy import Fault, FaultProxy  # noqa: E402 - the stage of the tests, which is no package
from mesh.price_backends import Process  # noqa: E402
from trinity.price.v1 import price_pb2, price_service_pb2_grpc  # noqa: E402
from trinity_mesh.channels import open_channel  # noqa: E402

CALLERS = 8
DEADLINE_S = 0.5
GOAL_OVERRUN_MS = 50
ROUND_ROBIN = json.dumps({"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}})

Stage: TypeAlias = "tuple[list[Process], list[FaultProxy], float]"


async def nothing(stage: Stage) -> None:
    """All is well."""


async def stopped(stage: Stage) -> None:
    """One is there and answers nothing."""
    stage[0][0].signal(signal.SIGSTOP)


async def slow(stage: Stage) -> None:
    """One answers late."""
    stage[1][0].fault = Fault(delay_s=0.3)


async def lossy(stage: Stage) -> None:
    """One loses what was asked or answered, and the connection with it."""
    stage[1][0].fault = Fault(cut_before=0.1, cut_after=0.1)


async def flapping(stage: Stage) -> None:
    """One is killed and started again, for as long as callers call."""
    end = time.perf_counter() + stage[2] - 1
    while time.perf_counter() < end:
        await stage[0][0].kill()
        await asyncio.sleep(0.2)
        await stage[0][0].start()
        await asyncio.sleep(0.3)


async def killed(stage: Stage) -> None:
    """One is gone."""
    await stage[0][0].kill()


async def both_stopped(stage: Stage) -> None:
    """Nobody answers."""
    for process in stage[0]:
        process.signal(signal.SIGSTOP)


FAULTS: dict[str, Callable[[Stage], Coroutine[Any, Any, None]]] = {
    each.__name__.replace("_", " "): each for each in (nothing, stopped, slow, lossy, flapping, killed, both_stopped)
}


def grpcs_own(addresses: list[str]) -> grpc.aio.Channel:
    """What grpc offers by itself: round robin over a list of IPv4 addresses."""
    return grpc.aio.insecure_channel(
        "ipv4:" + ",".join(addresses),
        options=[("grpc.service_config", ROUND_ROBIN), ("grpc.use_local_subchannel_pool", 1)],
    )


async def row(channel: str, fault: str, seconds: float) -> dict[str, Any]:
    """One line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        processes = [Process(f"unix:{folder}/{name}.sock", name) for name in ("a", "b")]
        proxies = [FaultProxy(process.address) for process in processes]
        for process, proxy in zip(processes, proxies, strict=True):
            await process.start()
            await proxy.__aenter__()
        addresses = [proxy.address for proxy in proxies]
        opened = open_channel(",".join(addresses)) if channel == "ours" else grpcs_own(addresses)
        try:
            async with opened:
                took, errors, overrun = await called(opened, FAULTS[fault], (processes, proxies, seconds))
        finally:
            for process in processes:
                await process.kill()
            for proxy in proxies:
                await proxy.__aexit__()
    took.sort()
    return {
        "fault": fault,
        "channel": channel,
        "calls": len(took),
        "errors": sum(errors.values()),
        "kinds": ", ".join(sorted(errors)),
        "p50_ms": round(took[len(took) // 2] * 1e3, 1),
        "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 1),
        "overrun_ms_max": round(max(0.0, overrun) * 1e3, 1),
    }


async def called(
    channel: grpc.aio.Channel, fault: Callable[[Stage], Coroutine[Any, Any, None]], stage: Stage
) -> tuple[list[float], Counter[str], float]:
    """How long calls took while the fault was there, how many failed, and the worst overrun of a deadline."""
    stub = price_service_pb2_grpc.PriceServiceStub(channel)
    request = price_pb2.GetPriceRequest(asset="BTC")
    for _ in range(50):
        await stub.GetPrice(request, timeout=5, wait_for_ready=True)
        await asyncio.sleep(0.005)
    took: list[float] = []
    errors: Counter[str] = Counter()
    overrun = 0.0
    end = time.perf_counter() + stage[2]

    async def caller() -> None:
        nonlocal overrun
        while (began := time.perf_counter()) < end:
            try:
                await stub.GetPrice(request, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                errors[error.code().name] += 1
            took.append(time.perf_counter() - began)
            overrun = max(overrun, took[-1] - DEADLINE_S)
            await asyncio.sleep(0.01)

    await asyncio.gather(fault(stage), *(caller() for _ in range(CALLERS)))
    return took, errors, overrun


async def main(seconds: float) -> int:
    """Print the table and write the results; 1 when a read failed that need not, or a deadline was overrun."""
    rows = []
    for fault in FAULTS:
        for channel in ("grpc's own", "ours"):
            rows.append(await row(channel, fault, seconds))
            print(" · ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    ours = [line for line in rows if line["channel"] == "ours"]
    missed = [line for line in ours if line["errors"] and line["fault"] != "both stopped"]
    missed += [line for line in ours if line["overrun_ms_max"] > GOAL_OVERRUN_MS]
    result = {"rows": rows, "deadline_ms": DEADLINE_S * 1e3, "goal_overrun_ms": GOAL_OVERRUN_MS}
    result |= {"goal_met": not missed}
    result |= {"machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"}
    (HERE.parent / "results" / "faults.json").write_text(json.dumps(result, indent=2) + "\n")
    return len(missed) and 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if sys.argv[1:] else 5.0)))
