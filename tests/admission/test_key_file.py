"""The replica on disk: what was known is known to the next process, and nobody can write keys into it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from admission.stage import DAY_MS, PEPPER, change, make_key, record_of, snapshot
from price.virtual_clock import VirtualClock, until
from trinity_admission.key_file import KeyFile, pack, unpack
from trinity_admission.keyring import Keyring
from trinity_core.errors import TrinityError

A, B = make_key(1), make_key(2)


def ring() -> Keyring:
    return Keyring(pepper=PEPPER, age_max_ms=DAY_MS, keys_max=100)


def file(path: Path, keyring: Keyring, clock: VirtualClock, pepper: bytes = PEPPER) -> KeyFile:
    return KeyFile(path, keyring=keyring, pepper=pepper, clock=clock)


def knows(keyring: Keyring, text: str, clock: VirtualClock) -> bool:
    try:
        keyring.find(text, mono_ns=clock.monotonic_ns(), unix_ns=clock.unix_ns())
    except TrinityError:
        return False
    return True


async def kept_file(tmp_path: Path) -> Path:
    clock, keyring = VirtualClock(), ring()
    path = tmp_path / "keys.bin"
    keyring.receive(snapshot(record_of(A), record_of(B), version=41), mono_ns=clock.monotonic_ns())
    async with file(path, keyring, clock) as kept:
        await kept.save()
    return path


async def test_a_process_that_starts_without_the_account_service_knows_the_keys_of_the_last(tmp_path: Path) -> None:
    path = await kept_file(tmp_path)
    clock, keyring = VirtualClock(), ring()
    clock.move(3_600)
    async with file(path, keyring, clock):
        assert knows(keyring, A.text, clock)
        assert knows(keyring, B.text, clock)
        assert keyring.opened() == 41
        assert not knows(keyring, make_key(9).text, clock)


async def test_the_age_of_the_file_counts(tmp_path: Path) -> None:
    path = await kept_file(tmp_path)
    clock, keyring = VirtualClock(), ring()
    clock.move(DAY_MS / 1_000 - 10)
    async with file(path, keyring, clock):
        assert knows(keyring, A.text, clock)
        clock.move(11)
        assert not knows(keyring, A.text, clock)


async def test_changes_are_written_soon_and_many_of_them_once(tmp_path: Path) -> None:
    clock, keyring = VirtualClock(), ring()
    path = tmp_path / "deep" / "keys.bin"
    async with file(path, keyring, clock) as kept:
        keyring.receive(snapshot(record_of(A)), mono_ns=clock.monotonic_ns())
        kept.changed()
        keyring.receive(change(record_of(B), version=8), mono_ns=clock.monotonic_ns())
        kept.changed()
        assert not path.exists()
        await clock.advance(0.2)
        await until(path.exists)
    found = unpack(path.read_bytes(), pepper=PEPPER)
    assert {record.key_id for record in found.records} == {A.key_id, B.key_id}
    assert found.version == 8
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["keys.bin"]


async def test_what_changed_last_is_written_when_the_process_stops(tmp_path: Path) -> None:
    clock, keyring = VirtualClock(), ring()
    path = tmp_path / "keys.bin"
    async with file(path, keyring, clock) as kept:
        keyring.receive(snapshot(record_of(A)), mono_ns=clock.monotonic_ns())
        kept.changed()
    assert len(unpack(path.read_bytes(), pepper=PEPPER).records) == 1


async def test_a_replica_that_was_never_right_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.bin"
    async with file(path, ring(), VirtualClock()) as kept:
        await kept.save()
    assert not path.exists()


async def test_a_replica_that_is_confirmed_is_written_anew_each_minute(tmp_path: Path) -> None:
    clock, keyring = VirtualClock(), ring()
    path = tmp_path / "keys.bin"
    keyring.receive(snapshot(record_of(A)), mono_ns=clock.monotonic_ns())
    async with file(path, keyring, clock) as kept:
        await kept.save()
        before = unpack(path.read_bytes(), pepper=PEPPER).heard_unix_ns
        await clock.advance(61)
        assert unpack(path.read_bytes(), pepper=PEPPER).heard_unix_ns == before, "nothing was confirmed since"
        keyring.receive(change(version=7), mono_ns=clock.monotonic_ns())
        await clock.advance(1)
        await until(lambda: unpack(path.read_bytes(), pepper=PEPPER).heard_unix_ns > before)


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "other pepper", "other magic"])
async def test_a_file_that_is_not_as_it_was_written_is_left_aside(tmp_path: Path, damage: str) -> None:
    path = await kept_file(tmp_path)
    data = bytearray(path.read_bytes())
    pepper = PEPPER
    if damage == "cut":
        del data[-40:]
    elif damage == "bit":
        data[40] ^= 1
    elif damage == "empty":
        data.clear()
    elif damage == "other pepper":
        pepper = b"x" * 32
    else:
        data = bytearray(pack([], version=1, heard_unix_ns=1, pepper=PEPPER))
        data[0] ^= 1
    path.write_bytes(data)
    clock = VirtualClock()
    keyring = Keyring(pepper=pepper, age_max_ms=DAY_MS, keys_max=100)
    async with file(path, keyring, clock, pepper):
        assert len(keyring) == 0
        assert keyring.heard_ns is None


async def test_a_disk_that_takes_nothing_costs_no_more_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "no-folder").write_text("a file stands where the folder should be")
    clock, keyring = VirtualClock(), ring()
    keyring.receive(snapshot(record_of(A)), mono_ns=clock.monotonic_ns())
    async with file(tmp_path / "no-folder" / "keys.bin", keyring, clock) as kept:
        await kept.save()
        assert kept.failures == 1
    assert knows(keyring, A.text, clock)


def test_no_secret_stands_in_the_file() -> None:
    data = pack([record_of(A).SerializeToString()], version=1, heard_unix_ns=1, pepper=PEPPER)
    assert A.text.encode() not in data
    assert A.text.split("_")[3].encode() not in data
    assert PEPPER not in data
