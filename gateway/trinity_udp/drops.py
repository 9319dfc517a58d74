"""Why a datagram got no answer, and how often. Silence is the rule; a count is what remains of it."""

from __future__ import annotations

from enum import StrEnum


class Drop(StrEnum):
    """A reason for silence, in the order in which the checks are made."""

    EMPTY = "empty"
    """No byte in it."""
    TOO_LARGE = "too_large"
    """More than DATAGRAM_BYTES_MAX."""
    UNKNOWN_FIRST_BYTE = "unknown_first_byte"
    """Neither printable text nor a binary version we know of."""
    RESPONSE = "response"
    """It is itself an answer; answering it would make two servers talk forever."""
    SOURCE_PORT = "source_port"
    """From port 0, 7, 19, 53, 123 or our own."""
    RATE_LIMITED = "rate_limited"
    """The allowance of its prefix is spent."""
    BAD_BINARY = "bad_binary"
    """Binary whose lengths or flags do not fit together, or whose payload is none."""
    BAD_TEXT = "bad_text"
    """Text with bytes other than printable ASCII and line ends."""
    TOO_MANY_QUERIES = "too_many_queries"
    """More lines, or more assets, than one datagram may hold."""
    UNKNOWN_COMMAND = "unknown_command"
    """A line whose first word is no command."""
    COOKIE_MALFORMED = "cookie_malformed"
    """A line with a cookie that is none by its form."""
    SESSION_UNSUPPORTED = "session_unsupported"
    """A line with a session, where the endpoint was given no keys."""
    SESSION_MALFORMED = "session_malformed"
    """A line with some words of a session, but not each of them once and in its form."""
    SESSION_TIME = "session_time"
    """A session's line whose time is more than 30 s from ours."""
    SESSION_UNKNOWN = "session_unknown"
    """A session that no key of ours opened, or that has ended."""
    SESSION_MAC = "session_mac"
    """A session's line whose MAC is wrong."""
    SESSION_KEY = "session_key"
    """A session whose key is not good any more."""
    SESSION_REPLAY = "session_replay"
    """A session's line that came before, or is older than the window of 64."""
    SESSIONS_FULL = "sessions_full"
    """A new session while there are as many as can be remembered."""
    DEMO_OFF = "demo_off"
    """A price was asked for without a session, and the demo allowance is switched off."""
    AMPLIFICATION = "amplification"
    """No form of the answer fits into three times the bytes received."""
    LOOKUPS_FULL = "lookups_full"
    """The price had to be looked up and too many wait for that already."""
    UNCOUNTED = "uncounted"
    """The answer could not be counted, so it was not given."""
    SEND_BLOCKED = "send_blocked"
    """The socket's buffer was full when the answer was to leave."""
    SEND_FAILED = "send_failed"
    """The system refused to send the answer."""
    RECEIVE_FAILED = "receive_failed"
    """The system reported an error in place of a datagram."""
    INTERNAL = "internal"
    """An error of ours; the log has it."""


class Tally:
    """What one endpoint received, answered and dropped since it started."""

    def __init__(self) -> None:
        self.received = 0
        """Datagrams."""
        self.replied = 0
        """Datagrams sent."""
        self.bytes_in = 0
        self.bytes_out = 0
        self.busy_ns = 0
        """Time from the receipt of batches to their replies."""
        self.looked_up = 0
        """Questions whose answer was not at hand and was asked for."""
        self.dropped: dict[Drop, int] = dict.fromkeys(Drop, 0)
        """Datagrams, or single lines of one, that got no answer."""

    def drop(self, reason: Drop) -> None:
        """Count one silence."""
        self.dropped[reason] += 1

    def as_mapping(self) -> dict[str, int]:
        """Every count by its metric name, drop reasons as `dropped.<reason>`."""
        return {
            "received": self.received,
            "replied": self.replied,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "looked_up": self.looked_up,
            **{f"dropped.{reason}": count for reason, count in self.dropped.items()},
        }
