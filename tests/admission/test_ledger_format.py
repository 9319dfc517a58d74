"""The layout of ledger files: what was written whole is read, and nothing else is taken for it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trinity_admission.ledger_format import ENTRY_BYTES, Layout, pack_entry, pack_header, unpack_entry, unpack_header
from trinity_core.usage import HOUR_S, Counted

LAYOUT = Layout("6a1b2c3d-0123456789abcdef-0", 1_000, 1_790_000_000_000_000_000)
BTC = Counted("0c7bgy9rbydg", 1_790_000_000 // HOUR_S * HOUR_S, 1, "GetPrice", "BTC", 1)

counteds = st.builds(
    Counted,
    key_id=st.from_regex(r"[0-9A-Za-z._-]{1,64}", fullmatch=True),
    hour=st.integers(0, 253_402_300_799 // HOUR_S).map(lambda hour: hour * HOUR_S),
    transport=st.integers(1, 3),
    method=st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,63}", fullmatch=True),
    asset=st.from_regex(r"[A-Z0-9]{0,16}", fullmatch=True),
    outcome=st.integers(1, 6),
)


@given(counteds, st.integers(0, 999))
def test_what_is_written_of_a_slot_is_read(counted: Counted, slot: int) -> None:
    entry = pack_entry(counted, layout=LAYOUT, slot=slot)
    assert len(entry) <= ENTRY_BYTES
    assert unpack_entry(entry.ljust(ENTRY_BYTES, b"\0"), layout=LAYOUT, slot=slot) == counted


@given(counteds, st.data())
def test_an_entry_that_was_cut_short_is_told(counted: Counted, data: st.DataObject) -> None:
    entry = pack_entry(counted, layout=LAYOUT, slot=3).ljust(ENTRY_BYTES, b"\0")
    written = data.draw(st.integers(0, len(entry.rstrip(b"\0")) - 1))
    assert unpack_entry(entry[:written].ljust(ENTRY_BYTES, b"\0"), layout=LAYOUT, slot=3) is None


@given(st.integers(0, 8 * 164 - 1))
def test_a_bit_that_changed_is_told(bit: int) -> None:
    entry = bytearray(pack_entry(BTC, layout=LAYOUT, slot=3))
    entry[bit // 8] ^= 1 << bit % 8
    assert unpack_entry(bytes(entry), layout=LAYOUT, slot=3) is None


def test_an_entry_is_good_only_in_its_slot_and_its_file() -> None:
    entry = pack_entry(BTC, layout=LAYOUT, slot=3)
    assert unpack_entry(entry, layout=LAYOUT, slot=4) is None
    assert unpack_entry(entry, layout=Layout("6a1b2c3d-0123456789abcdef-1", 1_000, 0), slot=3) is None


def test_a_slot_that_was_never_given_out_counts_nothing() -> None:
    assert unpack_entry(bytes(ENTRY_BYTES), layout=LAYOUT, slot=0) is None


def test_a_header_tells_the_layout_and_that_nothing_overlaps() -> None:
    assert unpack_header(pack_header(LAYOUT)) == LAYOUT
    assert LAYOUT.counters_at + 8 * LAYOUT.slots <= LAYOUT.table_at == LAYOUT.entry_at(0)
    assert LAYOUT.entry_at(LAYOUT.slots) <= LAYOUT.file_bytes
    assert LAYOUT.counters_at % 8 == LAYOUT.file_bytes % 4_096 == 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "does not begin"),
        (lambda data: data[:50], "does not begin"),
        (lambda data: b"X" + data[1:], "does not begin"),
        (lambda data: data[:8] + data[8:12][::-1] + data[12:], "byte order"),
        (lambda data: data[:12] + b"\2\0\0\0" + data[16:], "version 2"),
        (lambda data: data[:16] + b"\0\0\0\0" + data[20:], "damaged"),
        (lambda data: data[:40] + b"?" + data[41:], "damaged"),
    ],
)
def test_a_header_that_is_not_ours_is_refused_with_a_reason(damage, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=said):
        unpack_header(damage(pack_header(LAYOUT)))


@pytest.mark.parametrize(
    "wrong",
    [
        ("", 0, 1, "GetPrice", "BTC", 1),
        ("k" * 65, 0, 1, "GetPrice", "BTC", 1),
        ("schlüssel", 0, 1, "GetPrice", "BTC", 1),
        ("k", 1, 1, "GetPrice", "BTC", 1),
        ("k", -HOUR_S, 1, "GetPrice", "BTC", 1),
        ("k", 0, 0, "GetPrice", "BTC", 1),
        ("k", 0, 4, "GetPrice", "BTC", 1),
        ("k", 0, 1, "", "BTC", 1),
        ("k", 0, 1, "Get.Price", "BTC", 1),
        ("k", 0, 1, "GetPrice", "btc", 1),
        ("k", 0, 1, "GetPrice", "B" * 17, 1),
        ("k", 0, 1, "GetPrice", "BTC", 7),
    ],
)
def test_what_the_contract_would_refuse_cannot_be_counted(wrong: tuple[str, int, int, str, str, int]) -> None:
    with pytest.raises(ValueError, match="no counter can count"):
        Counted(*wrong)
