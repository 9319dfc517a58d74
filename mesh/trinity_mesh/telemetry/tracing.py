"""Traces by OpenTelemetry: off unless an exporter is named, and then nothing of it is even imported.

Callers look at `on` first, which is all that tracing costs while it is off. What of a trace crosses
processes is W3C's `traceparent` (and `tracestate`), in gRPC metadata as in HTTP headers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

import grpc.aio

from trinity_mesh.config import ConfigError
from trinity_mesh.telemetry.config import TraceConfig

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import SpanKind

TRACEPARENT: Final = "traceparent"
_SERVERS_FAULT: Final = 500
_KEYS: Final = (TRACEPARENT, "tracestate")

on = False
"""Whether this process traces."""

_tracing: _Tracing | None = None


def begin(config: TraceConfig, *, service: str, exporter: SpanExporter | None = None) -> None:
    """Trace from now on, if the settings name an exporter or one is given (which then gets each span at once).

    Raises ConfigError where the exporter's library is missing.
    """
    global on, _tracing
    if exporter is None and config.exporter == "none":
        return
    _tracing = _Tracing(config, service, exporter)
    on = True


def end() -> None:
    """Export what waits, and trace no more."""
    global on, _tracing
    ended, _tracing, on = _tracing, None, False
    if ended is not None:
        ended.provider.shutdown()


class Span:
    """A span under way."""

    __slots__ = ("_span",)

    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    def end(self, status: str = "OK") -> None:
        """It is over; `status` is gRPC's name, and OK or not."""
        span = self._span
        if span.is_recording():
            from opentelemetry.trace import StatusCode

            span.set_attribute("rpc.response.status_code", status)
            if status not in ("OK", "CANCELLED"):
                span.set_status(StatusCode.ERROR, status)
        span.end()

    def answered(self, route: str, status: int) -> None:
        """The answer to an HTTP request has left."""
        span = self._span
        if span.is_recording():
            from opentelemetry.trace import StatusCode

            span.update_name(route or "unknown path")
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            if status >= _SERVERS_FAULT:
                span.set_status(StatusCode.ERROR)
        span.end()

    def note(self, name: str, value: str | int) -> None:
        """Add an attribute. It MUST be no secret, and nothing that a customer wrote."""
        self._span.set_attribute(name, value)


def served(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Span | None:
    """A span of a call that this process serves, for the rest of the call's task; ended by its maker."""
    if _tracing is None:
        return None
    metadata = {key: value for key, value in context.invocation_metadata() or () if key in _KEYS}
    return _tracing.entered(method, metadata, attributes={"rpc.system.name": "grpc", "rpc.method": method})


def requested(verb: str, headers: Mapping[bytes, bytes]) -> Span | None:
    """Likewise of an HTTP request; its route is told when it is `answered`."""
    if _tracing is None:
        return None
    carrier = {key: headers[key.encode("ascii")].decode("latin-1") for key in _KEYS if key.encode("ascii") in headers}
    return _tracing.entered(verb, carrier, attributes={"http.request.method": verb[:16]})


def calling(method: str, metadata: Iterable[tuple[str, Any]] | None) -> tuple[Span | None, tuple[tuple[str, Any], ...]]:
    """A span of a call that this process makes, and the call's metadata with it."""
    given = tuple(metadata or ())
    if _tracing is None:
        return None, given
    span, carrier = _tracing.left(method)
    return span, (*(pair for pair in given if pair[0] not in _KEYS), *carrier.items())


_NOTHING: Final[AbstractContextManager[None]] = contextlib.nullcontext()


def within(name: str) -> AbstractContextManager[Span | None]:
    """A span of work inside this process, of the trace under way.

    Nothing while tracing is off; without a trace to belong to, nothing either: such work begins no trace.
    """
    return _NOTHING if _tracing is None else _tracing.within(name, "")


def following(name: str, traceparent: str) -> AbstractContextManager[Span | None]:
    """A span of work on data that carries `traceparent`; nothing where that is empty."""
    return _tracing.within(name, traceparent) if traceparent and _tracing is not None else _NOTHING


def sampled_root(name: str, attributes: Mapping[str, str]) -> str:
    """Begin a trace, as far as the ratio goes: its traceparent, to be carried along with data; empty for none."""
    return "" if _tracing is None else _tracing.root(name, attributes)


def current() -> str:
    """The traceparent of the span under way, if it is sampled; else empty."""
    return "" if _tracing is None else _tracing.current()


def trace_id() -> str:
    """Id of the trace under way, 32 hexadecimal digits; empty for none."""
    return "" if _tracing is None else _tracing.trace_id()


class _Tracing:
    """OpenTelemetry's SDK for one process."""

    def __init__(self, config: TraceConfig, service: str, exporter: SpanExporter | None) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        self._propagator = TraceContextTextMapPropagator()
        self.provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(config.ratio)),
            resource=Resource({"service.name": f"trinity.{service}", "service.namespace": "trinity"}),
            span_limits=SpanLimits(max_attributes=16, max_events=8, max_links=8, max_attribute_length=256),
            shutdown_on_exit=False,
        )
        if exporter is not None:
            self.provider.add_span_processor(SimpleSpanProcessor(exporter))
        else:
            processor = BatchSpanProcessor(exporter_of(config), max_queue_size=config.queue_len_max)
            self.provider.add_span_processor(processor)
        self._tracer = self.provider.get_tracer("trinity")

    def entered(self, name: str, carrier: Mapping[str, Any], *, attributes: Mapping[str, str]) -> Span:
        context = self._propagator.extract({key: str(value) for key, value in carrier.items()})
        span = self._start(name, context, self._api.SpanKind.SERVER, attributes)
        self._attach(span)
        return Span(span)

    def left(self, name: str) -> tuple[Span, dict[str, str]]:
        span = self._start(name, None, self._api.SpanKind.CLIENT, {"rpc.system.name": "grpc", "rpc.method": name})
        carrier: dict[str, str] = {}
        self._propagator.inject(carrier, self._api.set_span_in_context(span))
        return Span(span), carrier

    @contextlib.contextmanager
    def within(self, name: str, traceparent: str) -> Iterator[Span | None]:
        from opentelemetry import context as contexts

        parent = self._propagator.extract({TRACEPARENT: traceparent}) if traceparent else None
        if not self._api.get_current_span(parent).get_span_context().trace_flags.sampled:
            yield None
            return
        span = self._start(name, parent, self._api.SpanKind.INTERNAL, {})
        token = contexts.attach(self._api.set_span_in_context(span, parent))
        try:
            yield Span(span)
        except Exception as error:
            span.set_status(self._api.StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            contexts.detach(token)
            span.end()

    def root(self, name: str, attributes: Mapping[str, str]) -> str:
        from opentelemetry.context import Context

        span = self._start(name, Context(), self._api.SpanKind.PRODUCER, attributes)
        span.end()
        return self._traceparent(span)

    def current(self) -> str:
        return self._traceparent(self._api.get_current_span())

    def trace_id(self) -> str:
        found = self._api.get_current_span().get_span_context()
        return f"{found.trace_id:032x}" if found.is_valid else ""

    def _traceparent(self, span: OtelSpan) -> str:
        found = span.get_span_context()
        return f"00-{found.trace_id:032x}-{found.span_id:016x}-01" if found.trace_flags.sampled else ""

    def _start(self, name: str, context: Context | None, kind: SpanKind, attributes: Mapping[str, str]) -> OtelSpan:
        return self._tracer.start_span(
            name, context, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
        )

    def _attach(self, span: OtelSpan) -> None:
        """For the rest of the task: a call, like a request, is a task of its own, and its context ends with it."""
        from opentelemetry import context as contexts

        contexts.attach(self._api.set_span_in_context(span))


def exporter_of(config: TraceConfig) -> SpanExporter:
    """What sends spans away. Raises ConfigError where its library is missing."""
    if config.exporter == "otlp":
        try:
            from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise ConfigError(
                "settings of telemetry: traces.exporter otlp needs a library; `pip install trinity-beast[otlp]` has it"
            ) from error
        made: SpanExporter = OTLPSpanExporter(endpoint=config.endpoint)
        return made
    from trinity_mesh.telemetry.span_lines import SpanLines

    return SpanLines(config)
