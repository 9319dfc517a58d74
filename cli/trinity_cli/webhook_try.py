"""`trinity webhook subscriptions try`: a rule tried with prices of one's own, before anything is told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from google.protobuf import json_format

from trinity.price.v1 import price_pb2
from trinity.webhook.v1 import webhook_pb2 as pb
from trinity_cli.account_calls import moment
from trinity_cli.exits import CommandError, Exit
from trinity_cli.output import Column, Output, json_option, proto_json
from trinity_cli.webhook_calls import Webhooks, webhook_options
from trinity_cli.webhook_rule_options import one_rule, rule_options

SAMPLES_MAX: Final = 1_000
"""What the service takes in one call."""
_LINE_MAX: Final = 65_536
_COLUMNS = (Column("TIME"), Column("TYPE", needed=True), Column("BODY", needed=True, wraps=True))


@click.command("try")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
@click.option("--asset", "assets", multiple=True, help="Asset, such as BTC. [default: all]")
@click.option("--name", default="", help="Name to show; alerts carry it.")
@rule_options
@webhook_options
@json_option
def try_(
    file: Path, assets: tuple[str, ...], name: str, address: str | None, ready_file: Path | None, as_json: bool,
    **options: Any,
) -> int:  # fmt: skip
    """Try a rule with the prices in FILE (- for stdin): print what would have been sent. Nothing is stored or sent.

    A line of JSON each, at most 1000: {"asset": "BTC", "time": "2026-01-31T00:00:00Z", "price": "65000"}, with "state"
    and "spreadBps" where they matter; or what `trinity watch --json` and `trinity replay --json` print.
    """
    output = Output(as_json=as_json)
    wanted = pb.Subscription(name=name, assets=[asset.upper() for asset in assets], **one_rule(options))
    with click.open_file(str(file), "rb") as lines:
        samples = list(_samples(lines))
    if not samples:
        raise CommandError(f"there is no price in {_shown(file)}", code=Exit.USAGE, hint="give a line of JSON each")
    request = pb.EvaluateRuleRequest(subscription=wanted, samples=samples)
    answer = Webhooks(address, ready_file).ask(request)
    if as_json:
        output.document(proto_json(answer))
        return Exit.OK
    output.table(_COLUMNS, [(moment(each.time), each.type, each.body) for each in answer.previews])
    output.warn(f"{len(answer.previews)} would have been sent for {len(samples)} prices; {answer.waiting} wait still")
    return Exit.OK


def _samples(lines: Iterable[bytes]) -> Iterator[pb.PriceSample]:
    last_ns = 0
    for number, line in enumerate((line for line in lines if line.strip()), 1):
        if number > SAMPLES_MAX:
            raise CommandError(
                f"there are more than {SAMPLES_MAX} prices", code=Exit.USAGE, hint="try them in parts, `head` cuts them"
            )
        if len(line) > _LINE_MAX:
            raise CommandError(f"price {number} is longer than {_LINE_MAX} bytes", code=Exit.USAGE)
        try:
            sample = _sample(json.loads(line), last_ns)
        except (ValueError, json_format.ParseError) as error:
            raise CommandError(
                f"price {number} cannot be read: {error}",
                code=Exit.USAGE,
                hint='write it as {"asset": "BTC", "time": "2026-01-31T00:00:00Z", "price": "65000"}',
            ) from error
        last_ns = sample.time.ToNanoseconds()
        yield sample


def _sample(document: Any, last_ns: int) -> pb.PriceSample:
    """A sample, or a price of a stream as one. Raises ValueError or ParseError."""
    if isinstance(document, dict) and "receiveTime" in document:
        price = json_format.ParseDict(document, price_pb2.Price())
        sample = pb.PriceSample(asset=price.asset, price=price.price, state=price.state, spread_bps=price.spread_bps)
        # A stream is in its order, though what it tells of may have been received in another.
        sample.time.FromNanoseconds(max(last_ns, price.receive_time.ToNanoseconds()))
        return sample
    return json_format.ParseDict(document, pb.PriceSample())


def _shown(file: Path) -> str:
    return "stdin" if str(file) == "-" else str(file)
