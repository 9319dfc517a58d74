"""Which pages of other origins may call: the Fetch standard's CORS, and plain OPTIONS."""

from __future__ import annotations

from collections.abc import Sequence

from trinity_http.answer import Answer, Headers
from trinity_http.request import Request
from trinity_http.settings import GatewaySettings


class Cors:
    """Answers preflights and marks answers for origins that the settings name."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.origins = frozenset(origin.encode("ascii") for origin in settings.cors_origins)
        self._any = b"*" in self.origins
        self._max_age = b"%d" % settings.cors_max_age_s
        exposed = (*_EXPOSED, *(name.encode("ascii") for name in settings.return_metadata))
        self._expose = b", ".join(exposed)

    def headers(self, origin: bytes) -> Headers:
        """What an answer to that origin carries; without its origin's permission the browser hides it."""
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", self._expose)]
        vary: Headers = [(b"vary", b"origin")]
        if origin not in self.origins:
            return vary
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", self._expose), *vary]

    def options(self, request: Request, allow: Sequence[str]) -> Answer:
        """The answer to OPTIONS: what the path takes, and for a preflight what the page may send."""
        methods = ", ".join(allow).encode("ascii")
        headers: Headers = [(b"allow", methods)]
        origin = request.headers.get(b"origin")
        wanted = request.headers.get(b"access-control-request-method")
        if wanted is not None and origin is not None and (self._any or origin in self.origins):
            headers.append((b"access-control-allow-methods", methods))
            asked = request.headers.get(b"access-control-request-headers")
            if asked is not None and len(asked) <= _ASKED_LENGTH_MAX:
                headers.append((b"access-control-allow-headers", asked))
            headers.append((b"access-control-max-age", self._max_age))
        return Answer(204, headers, b"")


_EXPOSED = (b"x-request-id", b"etag", b"retry-after", b"ratelimit", b"ratelimit-policy")
_ASKED_LENGTH_MAX = 1_024
