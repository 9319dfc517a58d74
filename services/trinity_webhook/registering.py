"""How endpoints come to be, change, prove their owner and get new secrets. Pure but for chance, which is handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from trinity.webhook.v1 import webhook_pb2
from trinity_core.errors import Reason, TrinityError, invalid_field
from trinity_core.webhook_addresses import AddressPolicy
from trinity_core.webhook_challenge import is_answered, make_challenge
from trinity_core.webhook_payload import CHALLENGE, TEST, challenge_body, trial_body
from trinity_core.webhook_secrets import Scheme, Sealer, SecretValue, make_secret, read_secret
from trinity_core.webhook_store import Changed, Scope, Standing
from trinity_core.webhook_urls import Kind, read_url
from trinity_core.webhooks import Challenge, Delivery, DeliveryClass, Endpoint, EndpointState, Secret, make_id
from trinity_webhook.config import WebhookConfig
from trinity_webhook.reading import check_text, milliseconds

_ID_BYTES: Final = 15
_DAY_NS: Final = 86_400 * 10**9
_FIELDS: Final = ("name", "url", "paused", "rate_per_s", "in_flight_max", "batch_max", "batch_wait", "ttl")
_SECRETS_MAX: Final = 8
_USUAL: Final = Endpoint(endpoint="", associate="", url="", kind=Kind.HTTP)


@dataclass(frozen=True, slots=True)
class Registration:
    """An endpoint to be made, and its shared secret, which is shown once."""

    make: Callable[[Scope], tuple[Standing, Delivery]]
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rotation:
    """New secrets of an endpoint."""

    change: Callable[[Standing], Changed]
    secret: Callable[[], str] = field(repr=False)
    """The new shared secret, once the change was made; empty where there is none."""


class Registrar:
    """Makes and changes endpoints."""

    def __init__(
        self,
        config: WebhookConfig,
        *,
        policy: AddressPolicy,
        sealer: Sealer,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`random_bytes` must be cryptographically strong."""
        self._config = config
        self._policy = policy
        self._sealer = sealer
        self._random_bytes = random_bytes

    def register(self, request: webhook_pb2.CreateEndpointRequest, *, associate: str, now_ns: int) -> Registration:
        """An endpoint to make. Raises INVALID_FIELD."""
        message = request.endpoint
        check_text("endpoint.name", message.name)
        target = read_url(message.url, policy=self._policy, loopback=self._config.loopback, path="endpoint.url")
        schemes = _schemes(message.schemes)
        _check_kind(target.kind, schemes)
        if request.secret and Scheme.V1 not in schemes:
            raise invalid_field("secret", "a shared secret is for v1, which the endpoint does not use; leave it out")
        endpoint = Endpoint(
            endpoint=self._id("whe_"),
            associate=associate,
            name=message.name,
            url=target.url,
            kind=target.kind,
            schemes=schemes,
            paused=message.paused,
            create_time_ns=now_ns,
            update_time_ns=now_ns,
            **_amounts(message, ("rate_per_s", "in_flight_max", "batch_max", "batch_wait", "ttl")),
        )
        given = read_secret(request.secret) if request.secret else None
        values = [self._value(scheme, given) for scheme in schemes]
        secrets = tuple(self._sealed(value, endpoint.endpoint, now_ns) for value in values)
        challenge, delivery = self._challenge(endpoint, now_ns)

        def make(scope: Scope) -> tuple[Standing, Delivery]:
            most = self._config.endpoints_per_associate_max
            if scope.endpoints >= most:
                raise TrinityError(
                    Reason.TOO_MANY_ENDPOINTS, f"the associate has {most} endpoints already; delete one first"
                )
            return Standing(endpoint, secrets, challenge), delivery

        return Registration(make, _shown(values))

    def update(
        self, request: webhook_pb2.UpdateEndpointRequest, *, now_ns: int, check: Callable[[Endpoint], None]
    ) -> Callable[[Standing], Changed]:
        """What a request makes of an endpoint. Raises INVALID_FIELD; `check` raises for another's."""
        message = request.endpoint
        if not message.endpoint:
            raise invalid_field("endpoint.endpoint", "it is needed; name the endpoint to change")
        names = _named(request.update_mask.paths, message)
        check_text("endpoint.name", message.name)
        changes: dict[str, Any] = {name: getattr(message, name) for name in ("name", "paused") if name in names}
        changes |= _amounts(message, [name for name in names if name not in ("name", "paused", "url")])
        target = None
        if "url" in names:
            target = read_url(message.url, policy=self._policy, loopback=self._config.loopback, path="endpoint.url")

        def change(old: Standing) -> Changed:
            check(old.endpoint)
            new = replace(old.endpoint, **changes)
            if target is None or target.url == old.endpoint.url:
                return _if_changed(old.endpoint, new, now_ns)
            _check_kind(target.kind, new.schemes)
            new = replace(
                new,
                url=target.url,
                kind=target.kind,
                state=EndpointState.PENDING,
                disable_reason=None,
                disable_time_ns=None,
                verify_time_ns=None,
                failing_since_ns=None,
                renew_time_ns=None,
                update_time_ns=now_ns,
            )
            challenge, delivery = self._challenge(new, now_ns)
            return Changed(endpoint=new, challenge=challenge, deliveries=(delivery,), end_challenges_ns=now_ns)

        return change

    def challenge(self, *, now_ns: int, check: Callable[[Endpoint], None]) -> Callable[[Standing], Changed]:
        """Send a new challenge; the one before ends."""

        def change(old: Standing) -> Changed:
            check(old.endpoint)
            challenge, delivery = self._challenge(old.endpoint, now_ns)
            return Changed(challenge=challenge, deliveries=(delivery,), end_challenges_ns=now_ns)

        return change

    def test(self, endpoint: Endpoint, *, now_ns: int) -> Delivery:
        """A test of an endpoint."""
        body = trial_body(endpoint=endpoint.endpoint, at_ns=now_ns)
        return self._delivery(endpoint, DeliveryClass.TEST, TEST, body, now_ns)

    def rotate(
        self, request: webhook_pb2.RotateSecretRequest, *, now_ns: int, check: Callable[[Endpoint], None]
    ) -> Rotation:
        """New secrets beside the old ones. Raises INVALID_FIELD."""
        given = read_secret(request.secret) if request.secret else None
        overlap = milliseconds(request.overlap, "overlap") * 10**6 if request.HasField("overlap") else _DAY_NS
        wanted = (Scheme(request.scheme),) if request.scheme else tuple(Scheme)
        made: list[SecretValue] = []

        def change(old: Standing) -> Changed:
            check(old.endpoint)
            schemes = [scheme for scheme in old.endpoint.schemes if scheme in wanted]
            if not schemes:
                raise invalid_field("scheme", "the endpoint does not use it; GetEndpoint shows which it uses")
            if given is not None and Scheme.V1 not in schemes:
                raise invalid_field("secret", "a shared secret is for v1, which is not rotated; leave it out")
            made[:] = [self._value(scheme, given) for scheme in schemes]
            new = [self._sealed(value, old.endpoint.endpoint, now_ns) for value in made]
            kept = [
                replace(secret, expire_time_ns=_earlier(secret.expire_time_ns, now_ns + overlap))
                if secret.scheme in schemes
                else secret
                for secret in old.secrets
            ]
            live = tuple(secret for secret in (*new, *kept) if secret.is_live(now_ns))
            if len(live) > _SECRETS_MAX:
                raise TrinityError(
                    Reason.RATE_LIMITED, "too many secrets overlap already; end them with overlap 0, or wait"
                )
            return Changed(endpoint=replace(old.endpoint, update_time_ns=now_ns), secrets=live)

        return Rotation(change, lambda: _shown(made))

    def _challenge(self, endpoint: Endpoint, now_ns: int) -> tuple[Challenge, Delivery]:
        text, challenge = make_challenge(self._random_bytes, now_ns=now_ns)
        body = challenge_body(endpoint=endpoint.endpoint, challenge=text, at_ns=now_ns)
        return challenge, self._delivery(endpoint, DeliveryClass.CHALLENGE, CHALLENGE, body, now_ns)

    def _delivery(self, endpoint: Endpoint, kind: DeliveryClass, name: str, body: bytes, now_ns: int) -> Delivery:
        return Delivery(
            delivery=self._id("msg_"),
            endpoint=endpoint.endpoint,
            associate=endpoint.associate,
            kind=kind,
            type=name,
            payload=body,
            create_time_ns=now_ns,
            due_time_ns=now_ns,
        )

    def _value(self, scheme: Scheme, given: SecretValue | None) -> SecretValue:
        if scheme is Scheme.V1 and given is not None:
            return given
        return make_secret(scheme, self._random_bytes)

    def _sealed(self, value: SecretValue, endpoint: str, now_ns: int) -> Secret:
        name = self._id("whk_")
        return Secret(
            secret=name,
            endpoint=endpoint,
            scheme=value.scheme,
            sealed=self._sealer.seal(value, endpoint=endpoint, secret=name),
            public=value.public,
            create_time_ns=now_ns,
        )

    def _id(self, prefix: str) -> str:
        return make_id(prefix, self._random_bytes(_ID_BYTES))


class Answering:
    """Judges one answer to a challenge. A wrong one is counted, so it must be stored before it is refused."""

    def __init__(self, text: str, *, now_ns: int, check: Callable[[Endpoint], None]) -> None:
        self._text = text
        self._now_ns = now_ns
        self._check = check
        self.right = False
        """The answer was right; tell once the change was made."""

    def change(self, old: Standing) -> Changed:
        """What the answer makes of an endpoint."""
        self._check(old.endpoint)
        self.right = False
        if old.challenge is None:
            return Changed()
        if not is_answered(old.challenge, self._text, now_ns=self._now_ns):
            left = max(0, old.challenge.tries_left - 1)
            return Changed(challenge=replace(old.challenge, tries_left=left))
        self.right = True
        active = replace(
            old.endpoint,
            state=EndpointState.ACTIVE,
            verify_time_ns=self._now_ns,
            update_time_ns=self._now_ns,
            renew_time_ns=self._now_ns,
            disable_reason=None,
            disable_time_ns=None,
            failing_since_ns=None,
        )
        return Changed(endpoint=active, end_challenge=True, end_challenges_ns=self._now_ns)


def wrong_challenge() -> TrinityError:
    """What a wrong, late or superfluous answer is told."""
    return TrinityError(
        Reason.WRONG_CHALLENGE,
        "this is not the challenge that the endpoint waits for, or it has expired; "
        "pass the newest one that it received, or have a new one sent",
    )


def _schemes(numbers: Sequence[int]) -> tuple[Scheme, ...]:
    for index, number in enumerate(numbers):
        if not number:
            raise invalid_field(f"endpoint.schemes[{index}]", "use v1 or v1a")
    return tuple(sorted(map(Scheme, numbers))) or (Scheme.V1,)


def _check_kind(kind: Kind, schemes: Sequence[Scheme]) -> None:
    """Datagrams are signed with a shared secret alone. Raises INVALID_FIELD."""
    if kind is Kind.UDP and Scheme.V1 not in schemes:
        raise invalid_field("endpoint.schemes", "datagrams are signed by v1; add it, or use an https URL")


def _named(paths: Sequence[str], message: webhook_pb2.Endpoint) -> list[str]:
    """Fields to change: those of the mask, and without one those that are not empty."""
    if not paths:
        return [
            name
            for name in _FIELDS
            if (message.HasField(name) if name in ("batch_wait", "ttl") else getattr(message, name))  # type: ignore[arg-type]
        ]
    for path in paths:
        if path not in _FIELDS:
            raise invalid_field(
                "update_mask", f"{path[:64]!r} is no field that can be changed; use {', '.join(_FIELDS)}"
            )
    return list(dict.fromkeys(paths))


def _amounts(message: webhook_pb2.Endpoint, names: Sequence[str]) -> dict[str, Any]:
    """The numbers of an endpoint, the usual one where none is given."""
    found: dict[str, int] = {}
    for name in names:
        if name == "batch_wait":
            found["batch_ms"] = milliseconds(message.batch_wait, "endpoint.batch_wait")
        elif name == "ttl":
            given = message.HasField("ttl")
            found["ttl_ms"] = milliseconds(message.ttl, "endpoint.ttl") if given else _USUAL.ttl_ms
        else:
            found[name] = getattr(message, name) or getattr(_USUAL, name)
    return found


def _if_changed(old: Endpoint, new: Endpoint, now_ns: int) -> Changed:
    return Changed() if new == old else Changed(endpoint=replace(new, update_time_ns=now_ns))


def _earlier(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


def _shown(values: Sequence[SecretValue]) -> str:
    return next((value.text for value in values if value.scheme is Scheme.V1), "")
