"""A gateway worker whose usage is wrong on purpose: `python wrong_gateway.py VARIANT --config FILE --ready-file FILE`.

- deltas       the collector tells what was added since it told last, instead of how much it is in all
- no-adoption  the collector does not look at the files of processes that have ended

All else is the gateway as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
from pathlib import Path

import grpc.aio

from trinity.usage.v1 import usage_pb2
from trinity_admission import main as admission
from trinity_admission import spool
from trinity_admission.recording import Record, record_by
from trinity_cli import gateway_role


def differences(channel: grpc.aio.Channel, *, timeout_ms: int) -> Record:
    """Each message stands for itself, so the service adds it up: exact as long as nothing ever goes wrong."""
    own = record_by(channel, timeout_ms=timeout_ms)
    told: dict[tuple[str, int], int] = {}

    async def record(request: usage_pb2.RecordUsageRequest) -> usage_pb2.RecordUsageResponse:
        added = usage_pb2.RecordUsageRequest(incarnation=f"added-{secrets.token_hex(16)}")
        for counter in request.counters:
            one = added.counters.add()
            one.CopyFrom(counter)
            one.count -= told.get((request.incarnation, counter.slot), 0)
            if not one.count:
                del added.counters[-1]
        answer = await own(added) if added.counters else usage_pb2.RecordUsageResponse()
        for counter in request.counters:
            told[request.incarnation, counter.slot] = counter.count
        return usage_pb2.RecordUsageResponse(recorded=answer.recorded + len(request.counters) - len(added.counters))

    return record


def of_the_living(self: spool.Spool) -> list[Path]:
    """Ledger files, without those of processes that have ended."""
    return [path for path in all_files(self) if not spool._is_free(path)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=("deltas", "no-adoption"))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ready-file", type=Path, required=True)
    args = parser.parse_args()
    all_files = spool.Spool.files
    if args.variant == "deltas":
        admission.record_by = differences
    else:
        spool.Spool.files = of_the_living  # type: ignore[method-assign]
    values = json.loads(args.config.read_text("utf-8"))
    sys.exit(gateway_role.main(values=values, environ=os.environ, ready_file=args.ready_file))
