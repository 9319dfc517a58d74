"""Every metric that a process of the mesh may tell; docs/telemetry.md shows the same, and a test compares the two.

Labels have bounded sets of values: methods of our contracts, assets of the table, venues, and words of
enums. Nothing that a caller can make up becomes one.
"""

from __future__ import annotations

from typing import Final

from trinity_mesh.telemetry.metrics import Kind, Metric

_ALL: list[Metric] = []


def _metric(name: str, kind: Kind, unit: str, labels: tuple[str, ...], text: str) -> Metric:
    made = Metric(name, kind, unit, labels, text)
    _ALL.append(made)
    return made


def _counter(name: str, unit: str, text: str, *labels: str) -> Metric:
    return _metric(name, Kind.COUNTER, unit, labels, text)


def _gauge(name: str, unit: str, text: str, *labels: str) -> Metric:
    return _metric(name, Kind.GAUGE, unit, labels, text)


def _histogram(name: str, unit: str, text: str, *labels: str) -> Metric:
    return _metric(name, Kind.HISTOGRAM, unit, labels, text)


# gRPC, by the names of gRFC A66.
SERVER_STARTED: Final = _counter("grpc.server.call.started", "{call}", "Calls that a server began.", "grpc.method")
SERVER_DURATION: Final = _histogram(
    "grpc.server.call.duration", "s", "Time a call took at the server.", "grpc.method", "grpc.status"
)
SERVER_SENT: Final = _histogram(
    "grpc.server.call.sent_total_compressed_message_size",
    "By",
    "Bytes of the messages that a server sent in a call; nothing is compressed.",
    "grpc.method",
    "grpc.status",
)
SERVER_RECEIVED: Final = _histogram(
    "grpc.server.call.rcvd_total_compressed_message_size",
    "By",
    "Bytes of the messages that a server received in a call.",
    "grpc.method",
    "grpc.status",
)
ATTEMPT_STARTED: Final = _counter(
    "grpc.client.attempt.started", "{attempt}", "Attempts that a client began.", "grpc.method", "grpc.target"
)
ATTEMPT_DURATION: Final = _histogram(
    "grpc.client.attempt.duration",
    "s",
    "Time an attempt took, as its client saw it.",
    "grpc.method",
    "grpc.target",
    "grpc.status",
)
ATTEMPT_SENT: Final = _histogram(
    "grpc.client.attempt.sent_total_compressed_message_size",
    "By",
    "Bytes of the messages that a client sent in an attempt.",
    "grpc.method",
    "grpc.target",
    "grpc.status",
)
ATTEMPT_RECEIVED: Final = _histogram(
    "grpc.client.attempt.rcvd_total_compressed_message_size",
    "By",
    "Bytes of the message that a client received in an attempt with one answer.",
    "grpc.method",
    "grpc.target",
    "grpc.status",
)
CALL_DURATION: Final = _histogram(
    "grpc.client.call.duration",
    "s",
    "Time a call took, as its client saw it, all its attempts and the waits between them included.",
    "grpc.method",
    "grpc.target",
    "grpc.status",
)

# What channels and servers do beyond one attempt a call.
CALL_RETRIES: Final = _counter(
    "trinity.call.retries", "{attempt}", "Attempts made because the one before had failed.", "grpc.target"
)
CALL_HEDGES: Final = _counter(
    "trinity.call.hedges", "{attempt}", "Attempts made beside one that was slow.", "grpc.target"
)
CALL_OVERTAKEN: Final = _counter(
    "trinity.call.overtaken", "{attempt}", "First attempts that a hedge was faster than.", "grpc.target"
)
CALL_UNREPEATED: Final = _counter(
    "trinity.call.unrepeated", "{attempt}", "Retries and hedges that the channel's budget did not allow.", "grpc.target"
)
BACKENDS: Final = _gauge(
    "trinity.call.backends",
    "",
    "Backends of the open channels by their state: healthy, unknown, unwell, ejected, circuit_open.",
    "grpc.target",
    "state",
)
BACKEND_EJECTIONS: Final = _counter(
    "trinity.call.ejections", "", "How often a backend was ejected because too many of its calls failed.", "grpc.target"
)
DEADLINE_REFUSALS: Final = _counter(
    "trinity.deadline.refusals",
    "{call}",
    'Calls with no time left for them: not sent ("client"), or not begun ("server").',
    "side",
)
SHEDDING_REFUSALS: Final = _counter(
    "trinity.shedding.refusals",
    "{call}",
    'Calls that a server refused at once: more were under way than its limit ("full"), or they came with less time '
    'than they take ("hopeless").',
    "reason",
)
SHEDDING_LIMIT: Final = _gauge("trinity.shedding.limit", "{call}", "Calls that may be under way at once, now.")
SHEDDING_UNDER_WAY: Final = _gauge("trinity.shedding.under_way", "{call}", "Calls with one answer that are under way.")

# The price port and the report port, as the system we follow counts them.
LPO_REQUESTS: Final = _counter("trinity.lpo.requests", "", "Answers of the price port, over HTTP and UDP.")
LPO_CACHE_HIT_RATE: Final = _gauge(
    "trinity.lpo.cache_hit_rate", "%", "Prices answered from memory or the cache, of all prices answered."
)
LPO_LATENCY: Final = _gauge(
    "trinity.lpo.avg_latency", "ms", "Mean time from a request's head to its answer's first byte."
)
LPO_ERRORS: Final = _counter("trinity.lpo.errors", "", "Answers of the price port that were refusals or failures.")
LPO_FAILOVERS: Final = _counter(
    "trinity.lpo.source_failovers",
    "",
    'Times that another source had to do: a venue left a price that others carry on ("venue"), or an answer came '
    'from the cache or a live quote because memory had none ("tier").',
    "kind",
)
LPO_BY_ASSET: Final = _counter(
    "trinity.lpo.requests_by_asset", "", "Good answers of the price port, by the asset they are about.", "asset"
)
LPO_BY_SOURCE: Final = _counter(
    "trinity.lpo.requests_by_source",
    "",
    "Good answers of the price port, by each venue whose quote was in the price; looked at once a second.",
    "source",
)
LRS_REPORTS: Final = _counter("trinity.lrs.report_requests", "", "Answers of the report service's methods, all.")
LRS_USAGE: Final = _counter(
    "trinity.lrs.usage_requests", "", "Answers to requests for rows of usage, exports included."
)
LRS_SUMMARIES: Final = _counter("trinity.lrs.summary_requests", "", "Answers to requests for sums of usage.")
LRS_LATENCY: Final = _gauge(
    "trinity.lrs.avg_latency", "ms", "Mean time from a request's head to its answer's first byte."
)
LRS_FORMATS: Final = _counter("trinity.lrs.formats", "", "Good answers by their form: json, csv, tsv, text.", "format")

# What a gateway does.
ANSWERS: Final = _counter(
    "trinity.answers",
    "",
    "Answers that the ledger of this process counted.",
    "transport",
    "method",
    "asset",
    "outcome",
)
REFUSALS: Final = _counter("trinity.admission.refusals", "", "Refusals to holders of valid keys.", "reason")
KEYS: Final = _gauge("trinity.admission.keys", "", "Keys that this process knows.")
STREAMS_JUDGED: Final = _gauge("trinity.admission.streams", "", "Streams of keys' holders that are open.")
HTTP_DURATION: Final = _histogram(
    "http.server.request.duration",
    "s",
    "Time to an answer's first byte, of requests that took the long way.",
    "port",
    "http.request.method",
    "http.route",
    "http.response.status_code",
)
LANE_ANSWERS: Final = _counter("trinity.http.lane.answers", "", "Answers of the fast lane.")
LANE_DURATION: Final = _histogram(
    "trinity.http.lane.duration", "s", "Time the fast lane took for an answer; one of 64 is looked at."
)
HTTP_CONNECTIONS: Final = _gauge("trinity.http.connections", "", "Connections that are open.", "port")
HTTP_OVERDUE: Final = _counter(
    "trinity.http.connections_overdue", "", "Connections ended because they kept the server waiting.", "port"
)
HTTP_MALFORMED: Final = _counter("trinity.http.malformed", "", "Requests that were no HTTP.", "port")
HTTP_STREAMS: Final = _gauge("trinity.http.streams", "", "Streams that are open.", "port")
LIMIT_HITS: Final = _counter("trinity.limit.hits", "", "How often a limit was met, by its name.", "limit")
UDP_RECEIVED: Final = _counter("trinity.udp.received", "", "Datagrams received.", "port")
UDP_REPLIED: Final = _counter("trinity.udp.replied", "", "Datagrams sent.", "port")
UDP_BYTES_IN: Final = _counter("trinity.udp.received_size", "By", "Bytes of the datagrams received.", "port")
UDP_BYTES_OUT: Final = _counter("trinity.udp.replied_size", "By", "Bytes of the datagrams sent.", "port")
UDP_LOOKED_UP: Final = _counter("trinity.udp.looked_up", "", "Questions whose answer was not at hand.", "port")
UDP_DROPPED: Final = _counter(
    "trinity.udp.dropped", "", "Datagrams, or lines of one, that got no answer.", "port", "reason"
)
UDP_BUSY: Final = _counter(
    "trinity.udp.busy", "s", "Time spent on batches of datagrams, from receipt to reply.", "port"
)
LEDGER_SLOTS: Final = _gauge("trinity.ledger.slots", "", "Counters in use.")
LEDGER_FILES: Final = _gauge("trinity.ledger.files", "", "Files of the spool that are not recorded to their end.")
LEDGER_FAILURES: Final = _counter(
    "trinity.ledger.disk_failures", "", "How often the disk did not take what was counted."
)
COLLECTOR_LEADING: Final = _gauge("trinity.collector.leading", "", "1 in the process that collects for its host.")
COLLECTOR_FAILURES: Final = _counter(
    "trinity.collector.failures", "", "Attempts to record counts that the usage service did not answer well."
)
COLLECTOR_BEHIND: Final = _gauge(
    "trinity.collector.behind", "s", "Time since everything that was counted until then was recorded."
)
REPLICA_CONNECTED: Final = _gauge("trinity.replica.connected", "", "1 while the replica of the prices is connected.")
REPLICA_STREAMS: Final = _counter("trinity.replica.streams", "", "Streams of prices opened.")
REPLICA_PRICES: Final = _gauge("trinity.replica.prices", "", "Prices of the replica by their state.", "state")
REPLICA_TRANSIT: Final = _gauge("trinity.replica.transit", "s", "Time the newest batch of prices was under way.")

# Prices.
BOOK_PRICES: Final = _gauge("trinity.book.prices", "", "Prices of the book by their state.", "state")
BOOK_TICKS: Final = _counter("trinity.book.ticks", "", "Ticks taken.")
BOOK_CHANGES: Final = _counter("trinity.book.changes", "", "Changes of prices.")
PRICE_STREAMS: Final = _gauge("trinity.price.streams", "", "Streams of prices that are open.")
PRICE_FOUND: Final = _counter("trinity.price.found", "", "Prices answered, by where they came from.", "tier")
PRICE_MISSING: Final = _counter("trinity.price.missing", "", "Prices that were nowhere to be had.")
MIRROR_FAILURES: Final = _counter("trinity.price.mirror_failures", "", "Reads of the mirror that failed.")
FEED_CONNECTED: Final = _gauge("trinity.price.feed_connected", "", "1 while a feed worker's stream is open.", "feed")
FEED_TRANSIT: Final = _gauge("trinity.price.feed_transit", "s", "Time the newest batch of ticks was under way.", "feed")

# Venues.
VENUE_STATE: Final = _gauge(
    "trinity.venue.state", "", "1 for the state that a venue's connection is in, 0 for the others.", "venue", "state"
)
VENUE_LAG: Final = _gauge("trinity.venue.lag", "s", "Delay between the venue's time and ours, newest tick.", "venue")
VENUE_SILENCE: Final = _gauge("trinity.venue.silence", "s", "Time since the venue's newest frame.", "venue")
VENUE_SYMBOLS: Final = _gauge(
    "trinity.venue.symbols", "", "Symbols that are wanted, subscribed and fresh.", "venue", "kind"
)
VENUE_FRAMES: Final = _counter("trinity.venue.frames", "", "Frames received.", "venue")
VENUE_TICKS: Final = _counter("trinity.venue.ticks", "", "Ticks made of frames.", "venue")
VENUE_FAULTS: Final = _counter(
    "trinity.venue.faults",
    "",
    "What was wrong: invalid, unknown and late frames, errors, gaps and connections lost.",
    "venue",
    "kind",
)
VENUE_QUOTES: Final = _counter("trinity.venue.quotes", "", "Quotes read by REST, by outcome.", "venue", "outcome")
VENUE_CIRCUIT: Final = _gauge(
    "trinity.venue.circuit_open", "", "1 while REST calls are refused after failures.", "venue"
)
FEED_STREAMS: Final = _gauge("trinity.feed.streams", "", "Streams of ticks that are open.")

# Webhooks.
WEBHOOK_ATTEMPTS: Final = _counter(
    "trinity.webhook.attempts", "", "Attempts to deliver, by class and outcome.", "class", "outcome"
)
WEBHOOK_ENDPOINTS: Final = _gauge("trinity.webhook.endpoints", "", "Endpoints that this worker sees to.")
WEBHOOK_IN_FLIGHT: Final = _gauge(
    "trinity.webhook.in_flight", "", "Under way: batches of ticks, stored deliveries, attempts to be logged.", "class"
)
WEBHOOK_RENDERED: Final = _counter("trinity.webhook.rendered", "", "Changes of prices rendered for pushes.")

# The mesh on one machine; told by its supervisor.
PROCESS_UP: Final = _gauge("trinity.process.up", "", "1 for a part of the mesh whose metrics could be read.", "part")

CATALOGUE: Final[tuple[Metric, ...]] = tuple(_ALL)
"""All of them, in this order."""
