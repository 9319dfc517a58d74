"""Admission's composition root: settings in, one Admission that follows keys, leases quotas and counts out.

async with admission_part(config, clock=clock, assets=load_assets().ids) as part:
    await part.ready()
    admitting = trinity_http.admitting.Admitting(part.admission)
    doors = trinity_udp.admitting.Admitting(part.admission, part.sessions)
    interceptors = trinity_admission.grpc_interceptor.with_admission(part.admission)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from trinity_admission.admission import Admission, own_cell
from trinity_admission.admission_config import AdmissionConfig
from trinity_admission.collector import Collector
from trinity_admission.key_file import KeyFile
from trinity_admission.key_watch import KeyWatch
from trinity_admission.keyring import Keyring
from trinity_admission.ledger import Ledger
from trinity_admission.quota_leases import Leases
from trinity_admission.readings import admission_samples
from trinity_admission.recording import record_by
from trinity_admission.shared_state import SharedState
from trinity_admission.udp_sessions import UdpSessions, own_window
from trinity_mesh.channels import open_channel
from trinity_mesh.clock import Clock, clock_id
from trinity_mesh.identity import Identity
from trinity_mesh.secrets_file import MeshSecrets, load_secrets
from trinity_mesh.telemetry.readings import process_readings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AdmissionPart:
    """Admission of one process, running."""

    admission: Admission
    sessions: UdpSessions
    keyring: Keyring
    watch: KeyWatch
    leases: Leases
    ledger: Ledger
    collector: Collector
    ready_wait_s: float

    async def ready(self) -> None:
        """Return once keys can be judged, or after `ready_wait_ms`."""
        if self.keyring.heard_ns is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.ready_wait_s):
                    await self.watch.ready()

    def missing(self) -> Sequence[str]:
        """Why no key can be judged now, in words; empty when keys can."""
        if self.keyring.heard_ns is None:
            return (f"the keys are not known yet: {self.watch.state.detail or 'the account service has not answered'}",)
        return ()


@contextlib.asynccontextmanager
async def admission_part(
    config: AdmissionConfig,
    *,
    clock: Clock,
    assets: Collection[str],
    secret: MeshSecrets | None = None,
    identity: Identity | None = None,
) -> AsyncIterator[AdmissionPart]:
    """Admission for as long as the block runs; at its end what was counted is handed to the usage service.

    Args:
        config: the settings.
        clock: the machine's.
        assets: ids that answers may be counted under.
        secret: the mesh's secrets; read from `secrets_file` by default.
        identity: the process's, by which it meets services on other hosts.

    Raises ConfigError when the secrets cannot be read.
    """
    secret = secret or load_secrets(Path(config.secrets_file))
    spool = Path(config.spool)
    async with contextlib.AsyncExitStack() as stack:
        usage = await stack.enter_async_context(open_channel(config.usage, identity=identity, service="usage"))
        account = await stack.enter_async_context(open_channel(config.account, identity=identity, service="account"))
        record = record_by(usage, timeout_ms=config.collector.timeout_ms)
        collector = await stack.enter_async_context(
            Collector(config.collector, spool=spool, record=record, clock=clock)
        )
        ledger = await stack.enter_async_context(Ledger(config.ledger, spool=spool, clock=clock))
        shared = _shared(config, clock)
        if shared is not None:
            stack.enter_context(shared)
        keyring = Keyring(pepper=secret.pepper, age_max_ms=config.age_max_s * 1_000, keys_max=config.keys_max)
        leases = Leases(
            usage,
            holder=f"gateway-{secrets.token_hex(12)}",
            clock=clock,
            ahead_s=config.quota.ahead_s,
            deadline_ms=config.quota.deadline_ms,
            again_ms=config.quota.again_ms,
            calls_max=config.quota.calls_max,
        )
        stack.push_async_callback(leases.close)
        kept: KeyFile | None = None
        if config.keys_copy:
            kept = KeyFile(Path(config.keys_copy), keyring=keyring, pepper=secret.pepper, clock=clock)
            await stack.enter_async_context(kept)
        watch = KeyWatch(account, keyring=keyring, clock=clock, on_change=None if kept is None else kept.changed)
        await stack.enter_async_context(watch)
        admission = Admission(
            keyring=keyring,
            counts=ledger,
            leases=leases,
            clock=clock,
            assets=assets,
            share=config.rate_share,
            trust_ms=config.quota.trust_s * 1_000,
            wait_ms=config.quota.wait_ms,
            cell_of=own_cell if shared is None else shared.cell_of,
        )
        running = asyncio.create_task(admission.run())
        stack.push_async_callback(_ended, running)
        sessions = UdpSessions(
            master=secret.udp_master,
            keyring=keyring,
            sessions_max=config.udp_sessions_max,
            window_of=own_window if shared is None else shared.window_of,
        )
        part = AdmissionPart(
            admission=admission,
            sessions=sessions,
            keyring=keyring,
            watch=watch,
            leases=leases,
            ledger=ledger,
            collector=collector,
            ready_wait_s=config.ready_wait_ms / 1_000,
        )
        stack.enter_context(process_readings().reading(lambda: admission_samples(part, clock)))
        yield part


def _shared(config: AdmissionConfig, clock: Clock) -> SharedState | None:
    """What the processes of the host share; nothing where that cannot be."""
    if not config.rates_file:
        return None
    try:
        return SharedState(Path(config.rates_file), clock=clock, clock_id=clock_id())
    except (OSError, ValueError) as error:
        log.warning("rates and datagram windows are not shared with other processes: %s", error)
        return None


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
