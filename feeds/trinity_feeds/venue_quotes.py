"""REST quotes of one venue, within what it allows. Only this module knows httpx.

In the way of each call stand, in this order: a call for the same quote that is under way
(joined instead of repeated), the venue's circuit breaker, the venue's rate limit. What to
ask and how to read the answer is the venue module's (`Session.quote_request`,
`Session.parse_quote`).
"""

from __future__ import annotations

import asyncio
import random
import ssl
from dataclasses import dataclass
from typing import Final

import httpx

from trinity_core.assets import Listing
from trinity_core.errors import Reason, TrinityError
from trinity_core.ticks import Tick
from trinity_feeds.limits import Circuit, CircuitBreaker, TokenBucket
from trinity_feeds.session import Session
from trinity_mesh.clock import Clock

_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteSettings:
    """What may be set about REST quotes."""

    timeout_ms: int = 2_500
    """One call to one venue, from the request to the last byte."""
    rate_share: float = 1.0
    """Share of each venue's published limit that this worker may use; venues count per address, workers share one."""
    connections_max: int = 4
    """Connections to one venue."""
    body_bytes_max: int = 1 << 20
    """A longer answer is not read."""
    failures_max: int = 5
    """Failures in a row that open a venue's circuit."""
    open_ms: int = 5_000
    """How long a circuit stays open the first time; doubles with each failed probe."""
    open_ms_max: int = 120_000
    """How long a circuit stays open at most."""
    retry_after_ms_max: int = 300_000
    """A venue's Retry-After is obeyed up to this."""

    def __post_init__(self) -> None:
        if not 0 < self.rate_share <= 1:
            raise ValueError(f"rate_share must be above 0 and at most 1, not {self.rate_share}")
        for name in ("timeout_ms", "connections_max", "body_bytes_max", "failures_max", "open_ms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.open_ms_max < self.open_ms:
            raise ValueError(f"open_ms_max must be at least open_ms, {self.open_ms}, not {self.open_ms_max}")
        if self.retry_after_ms_max < 0:
            raise ValueError(f"retry_after_ms_max must be at least 0, not {self.retry_after_ms_max}")


class VenueQuotes:
    """REST quotes of one venue."""

    def __init__(
        self,
        *,
        session: type[Session],
        url: str,
        clock: Clock,
        settings: QuoteSettings,
        random_source: random.Random,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`url` is scheme and host (and a path prefix, if any); `random_source` spreads the probes of open circuits."""
        self.venue = session.venue
        self.fetched = 0
        """Calls that left for the venue."""
        self.failed = 0
        """Calls that brought no quote."""
        self._session = session
        self._url = url.rstrip("/")
        self._clock = clock
        self._settings = settings
        allowed = session.rest_limit.calls * settings.rate_share
        self._bucket = TokenBucket.within(
            calls=max(1, int(allowed)), window_ms=session.rest_limit.window_ms * max(1.0, 1 / allowed)
        )
        self._breaker = CircuitBreaker(
            failures_max=settings.failures_max,
            open_ms=settings.open_ms,
            open_ms_max=settings.open_ms_max,
            random_source=random_source,
        )
        self._under_way: dict[str, asyncio.Task[Tick]] = {}
        self._http = httpx.AsyncClient(
            verify=True if tls is None else tls,
            http1=True,
            http2=False,
            trust_env=False,
            follow_redirects=False,
            timeout=settings.timeout_ms / 1_000,
            limits=httpx.Limits(
                max_connections=settings.connections_max, max_keepalive_connections=settings.connections_max
            ),
            # Not compressed: an answer is small, and its size must be known before it is unpacked.
            headers={"User-Agent": "trinity-beast", "Accept": "application/json", "Accept-Encoding": "identity"},
        )

    @property
    def circuit(self) -> Circuit:
        """State of the circuit breaker."""
        return self._breaker.state(self._clock.monotonic_ns())

    async def fetch(self, asset: str, listing: Listing) -> Tick:
        """The venue's quote of an asset, read now (`live` set); equal calls at one time share one request.

        Raises TrinityError VENUE_RATE_LIMITED (with `retry_after_ms`), VENUE_UNAVAILABLE,
        NOT_LISTED when the venue no longer knows the symbol, STOPPING.
        """
        task = self._under_way.get(asset)
        if task is None:
            task = asyncio.create_task(self._fetch(asset, listing), name=f"{self.venue} quote {asset}")
            self._under_way[asset] = task
            task.add_done_callback(lambda done: self._ended(asset, done))
        # One caller that gives up must not take the answer from the others; the call ends by its own timeout.
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise TrinityError(Reason.STOPPING, "this feed worker is stopping; try another") from None
            raise

    async def close(self) -> None:
        """Give up what is under way and close the connections."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._http.aclose()

    def _ended(self, asset: str, task: asyncio.Task[Tick]) -> None:
        if self._under_way.get(asset) is task:
            del self._under_way[asset]
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain when every caller has left

    async def _fetch(self, asset: str, listing: Listing) -> Tick:
        now = self._clock.monotonic_ns()
        if wait_ns := self._breaker.allow(now):
            raise TrinityError(
                Reason.VENUE_UNAVAILABLE,
                f"{self.venue} failed repeatedly and is left alone for now",
                metadata={"venue": self.venue},
                retry_after_ms=_ceil_ms(wait_ns),
            )
        if wait_ns := self._bucket.take(now):
            self._breaker.abandoned()
            raise self._rate_limited(wait_ns)
        self.fetched += 1
        try:
            tick = await self._ask(asset, listing)
        except TrinityError as error:
            self.failed += 1
            self._judge(error)
            raise
        except BaseException:
            self.failed += 1
            self._breaker.abandoned()
            raise
        self._breaker.succeeded()
        return tick

    def _judge(self, error: TrinityError) -> None:
        """What a failure says of the venue."""
        now = self._clock.monotonic_ns()
        if error.reason is Reason.VENUE_RATE_LIMITED:
            pause_ms = min(max(error.retry_after_ms or 1_000, 0), self._settings.retry_after_ms_max)
            self._bucket.pause(now + pause_ms * _MS)
            self._breaker.abandoned()
        elif error.reason is Reason.VENUE_UNAVAILABLE:
            self._breaker.failed(now)
        else:
            self._breaker.succeeded()  # it answered, and said that it has no such symbol

    async def _ask(self, asset: str, listing: Listing) -> Tick:
        """Send one request and read its answer. Raises TrinityError."""
        request = self._session.quote_request(listing)
        try:
            async with asyncio.timeout(self._settings.timeout_ms / 1_000):
                async with self._http.stream("GET", self._url + request.path, params=dict(request.params)) as response:
                    body = await self._body(response)
        except TimeoutError as error:
            raise self._unavailable(f"{self.venue} did not answer within {self._settings.timeout_ms} ms") from error
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise self._unavailable(f"{self.venue} could not be asked: {type(error).__name__}") from error
        return self._session.parse_quote(
            asset,
            listing,
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
            mono_ns=self._clock.monotonic_ns(),
            unix_ns=self._clock.unix_ns(),
        )

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._settings.body_bytes_max:
                raise self._unavailable(f"{self.venue} sent more than {self._settings.body_bytes_max} bytes")
        return bytes(body)

    def _unavailable(self, message: str) -> TrinityError:
        return TrinityError(Reason.VENUE_UNAVAILABLE, message, metadata={"venue": self.venue})

    def _rate_limited(self, wait_ns: int) -> TrinityError:
        return TrinityError(
            Reason.VENUE_RATE_LIMITED,
            f"{self.venue} may not be asked so soon",
            metadata={"venue": self.venue},
            retry_after_ms=_ceil_ms(wait_ns),
        )


def _ceil_ms(wait_ns: int) -> int:
    return -(-wait_ns // _MS)
