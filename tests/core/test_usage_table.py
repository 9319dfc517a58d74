"""The cells of a row of usage are what the contract calls its values."""

from __future__ import annotations

import json

from google.protobuf import json_format

from trinity.report.v1 import report_pb2
from trinity_core.tables import Form, JsonWriter
from trinity_core.usage_log import UsageRow
from trinity_core.usage_table import COLUMNS, cells

ROW = UsageRow(1_768_939_200, "acme", "0c7bgy9rbydg", "=ops", 2, "GetPrice", "BTC", 5, 2**53 + 1)


def test_a_row_has_a_cell_a_column() -> None:
    assert dict(zip([column.name for column in COLUMNS], cells(ROW, Form.CSV), strict=True)) == {
        "hour": "2026-01-20T20:00:00Z",
        "associate": "acme",
        "key_id": "0c7bgy9rbydg",
        "key_name": "=ops",
        "transport": "udp",
        "method": "GetPrice",
        "asset": "BTC",
        "outcome": "refused",
        "count": "9007199254740993",
        "billed": "false",
    }


def test_a_row_in_json_is_the_message_of_the_contract() -> None:
    writer = JsonWriter(COLUMNS)
    (item,) = json.loads(writer.head() + writer.rows([cells(ROW, Form.JSON)]) + writer.tail())
    message = json_format.ParseDict(item, report_pb2.UsageRow())
    assert message.hour.seconds == ROW.hour
    assert (message.associate, message.key_id, message.key_name) == (ROW.associate, ROW.key_id, ROW.key_name)
    assert (message.transport, message.method, message.asset) == (ROW.transport, ROW.method, ROW.asset)
    assert (message.outcome, message.count, message.billed) == (ROW.outcome, ROW.count, ROW.billed)
    assert json_format.MessageToDict(message, always_print_fields_with_no_presence=True) == item
