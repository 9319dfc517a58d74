"""What a failed handshake means, for people: gRPC hands on the words of its TLS library, or none."""

from __future__ import annotations

from typing import Final

_CONNECTING: Final = "failed to connect"
"""Begins what gRPC says of a connection that never came to be."""

_MEANINGS: Final = (
    (
        "Hostname Verification Check failed",
        "what answers there is not the service that was wanted: its certificate has another name",
    ),
    ("certificate has expired", "the server's certificate is over"),
    ("certificate is not yet valid", "the server's certificate begins later: look at the clocks of both machines"),
    ("CERTIFICATE_VERIFY_FAILED", "no CA that we trust vouches for the server: it belongs to another mesh"),
    ("WRONG_VERSION_NUMBER", "the server speaks without TLS"),
    (
        "Socket closed",
        "the server ends the connection at once: it does not take our certificate (none, another mesh's, or one that "
        "is over), or speaks TLS where we do not; its log says which",
    ),
)
"""Words of the library, and what they mean; the first that fits."""


def explained(details: str) -> str:
    """What gRPC says of a call that failed, with the meaning before it where a handshake was in the way."""
    if not details.startswith(_CONNECTING) or "unix:" in details:
        return details
    meaning = next((meaning for words, meaning in _MEANINGS if words in details), "")
    return f"{meaning} ({details})" if meaning else details


def is_explained(message: str) -> bool:
    """Whether a message is one that `explained` had more to say of."""
    return message.startswith(tuple(meaning for _, meaning in _MEANINGS))
