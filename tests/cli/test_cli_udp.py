"""`trinity udp --usage` and `--session` on a small mesh: sessions opened over HTTP, lines signed, totals shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cli.processes import Trinity
from cli.small_mesh import CLOCK, SmallMesh
from trinity.usage.v1 import usage_pb2
from trinity_core.errors import Reason, TrinityError
from trinity_core.usage_table import hour_text

DAY_S = 86_400


@pytest.fixture
def used(mesh: SmallMesh) -> SmallMesh:
    """123 answers today, whether or not it is tomorrow by the time they are asked for."""
    today = CLOCK.unix_ns() // 10**9 // DAY_S * DAY_S
    mesh.reports.days = {hour_text(today): 123, hour_text(today + DAY_S): 123, "1970-01-01T00:00:00Z": 4_000}
    return mesh


async def test_totals_of_the_ready_files_key_are_shown_and_paid_by_it(trinity: Trinity, used: SmallMesh) -> None:
    done = await trinity("udp", "--usage")
    assert (done.exit_code, done.stderr) == (0, "")
    heading, row = done.stdout.splitlines()
    assert heading.split() == ["BILLED", "TODAY", "BILLED", "THIS", "MONTH", "QUOTA", "LEFT", "AT"]
    assert row.split()[:3] == ["123", "4246", "995433"]
    assert row.endswith("Z")
    assert used.office.counted() == {("udp", "SummarizeUsage", "", 4): 1}


async def test_totals_in_json_have_64_bit_numbers_as_text(trinity: Trinity, used: SmallMesh) -> None:
    done = await trinity("udp", "--usage", "--json")
    document = json.loads(done.stdout)
    assert document.pop("readTime").endswith("Z")
    assert document == {"billedToday": "123", "billedThisMonth": "4246", "unlimited": False, "remaining": "995433"}
    used.quotas.answer = usage_pb2.GetQuotaResponse(unlimited=True)
    assert "no bound" in (await trinity("udp", "--usage")).stdout


async def test_a_session_pays_for_prices_as_well(trinity: Trinity, mesh: SmallMesh) -> None:
    done = await trinity("udp", "BTC", "ETH", "--session")
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [["BTC", "67000.10"], ["ETH", "3000.5"]]
    assert sum(mesh.office.counted().values()) == 2
    assert not mesh.office.counted("udp-demo")


async def test_the_address_of_the_port_may_be_named(trinity: Trinity, used: SmallMesh) -> None:
    used.write_ready(udp_reports="")
    done = await trinity("udp", "--usage")
    assert done.exit_code == 5
    assert "names no address for udp_reports" in done.stderr
    assert (await trinity("udp", "--usage", "--address", used.udp_reports.addresses[0])).exit_code == 0
    done = await trinity("udp", "--usage", "--address", used.udp.addresses[0])
    assert done.exit_code == 3
    assert "only the port for reports answers that" in done.stderr


async def test_a_mesh_of_reports_alone_opens_sessions_at_its_own_http(trinity: Trinity, used: SmallMesh) -> None:
    used.write_ready(http="", udp="", reports=used.ready["http"])
    assert (await trinity("udp", "--usage")).exit_code == 0


@pytest.mark.parametrize(
    ("ready", "code", "words"),
    [
        ({"key": ""}, 3, "TRINITY_KEY"),
        ({"key": "wrong"}, 3, "this key is not valid"),
        ({"http": "127.0.0.1:9"}, 5, "trinity up"),
        ({"http": ""}, 5, "names no address for http"),
    ],
)
async def test_without_a_session_there_is_a_reason(
    ready: dict[str, Any], code: int, words: str, trinity: Trinity, mesh: SmallMesh
) -> None:
    mesh.write_ready(**ready)
    done = await trinity("udp", "--usage")
    assert (done.exit_code, done.stdout) == (code, "")
    assert words in done.stderr
    assert "secret" not in done.stderr


async def test_services_that_fail_end_the_command_with_their_reason(trinity: Trinity, mesh: SmallMesh) -> None:
    mesh.reports.error = TrinityError(Reason.STORE_UNAVAILABLE, "no database")
    done = await trinity("udp", "--usage")
    assert (done.exit_code, done.stdout) == (4, "")
    assert "STORE_UNAVAILABLE" in done.stderr
    assert mesh.office.counted() == {("udp", "SummarizeUsage", "", 6): 1}


async def test_assets_or_totals_but_not_both_and_not_neither(trinity: Trinity) -> None:
    for arguments in (["udp"], ["udp", "BTC", "--usage"]):
        assert (await trinity(*arguments)).exit_code == 2
