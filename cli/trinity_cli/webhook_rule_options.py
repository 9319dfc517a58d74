"""The options of a command that name a rule, and the rule that they name."""

from __future__ import annotations

from typing import Any, Final

import click

from trinity.webhook.v1 import webhook_pb2 as pb
from trinity_cli.price import Milliseconds
from trinity_cli.webhook_calls import duration

DIRECTIONS: Final = {"up": pb.DIRECTION_UP, "down": pb.DIRECTION_DOWN, "either": pb.DIRECTION_EITHER}
_RULES: Final = ("every_change", "interval", "moved", "crossing", "percent_move", "divergence", "staleness", "recovery")


def rule_options(command: Any) -> Any:
    """Adds the options of every rule to a command."""
    for option in (
        click.option("--cooldown", type=Milliseconds(), help="Alerts: least time between two, such as 5m."),
        click.option("--hysteresis", default="", help="--crossing: USD, --divergence: bps; how far back it must go."),
        click.option(
            "--window", type=Milliseconds(), default=300_000, help="--percent-move: within this. [default: 5m]"
        ),
        click.option("--direction", type=click.Choice(list(DIRECTIONS)), default="either", help="[default: either]"),
        click.option("--recovery", type=Milliseconds(), help="Alert: fresh again after it was stale for so long."),
        click.option("--staleness", type=Milliseconds(), help="Alert: stale for so long, such as 30s."),
        click.option("--divergence", metavar="BPS", help="Alert: venues lie so far apart."),
        click.option("--percent-move", metavar="PERCENT", help="Alert: moved by so much within --window."),
        click.option("--crossing", metavar="USD", help="Alert: the price crosses a threshold."),
        click.option("--moved", metavar="BPS", help="Ticks: when moved by so many basis points."),
        click.option("--interval", type=Milliseconds(), help="Ticks: at most so often, such as 1s."),
        click.option("--every-change", is_flag=True, help="Ticks: every change."),
    ):
        command = option(command)
    return command


def one_rule(options: dict[str, Any]) -> dict[str, Any]:
    """The one rule that the options must name, as its field of a subscription. Raises UsageError."""
    rules = rules_of(options)
    if len(rules) != 1:
        raise click.UsageError(f"name one rule: {', '.join('--' + rule.replace('_', '-') for rule in _RULES)}")
    return rules


def rules_of(options: dict[str, Any]) -> dict[str, Any]:
    """The rules that the options name, each as its field of a subscription."""
    direction, cooldown = DIRECTIONS[options["direction"]], duration(options["cooldown"])
    hysteresis = options["hysteresis"]
    found: dict[str, Any] = {}
    if options["every_change"]:
        found["every_change"] = pb.EveryChange()
    if options["interval"] is not None:
        found["interval"] = pb.Interval(interval=duration(options["interval"]))
    if options["moved"] is not None:
        found["moved"] = pb.Moved(bps=options["moved"])
    if options["crossing"] is not None:
        found["crossing"] = pb.Crossing(
            direction=direction, threshold=options["crossing"], hysteresis=hysteresis, cooldown=cooldown
        )
    if options["percent_move"] is not None:
        window = duration(options["window"])
        found["percent_move"] = pb.PercentMove(
            direction=direction, percent=options["percent_move"], window=window, cooldown=cooldown
        )
    if options["divergence"] is not None:
        found["divergence"] = pb.Divergence(bps=options["divergence"], hysteresis_bps=hysteresis, cooldown=cooldown)
    if options["staleness"] is not None:
        found["staleness"] = pb.Staleness(after=duration(options["staleness"]), cooldown=cooldown)
    if options["recovery"] is not None:
        found["recovery"] = pb.Recovery(after=duration(options["recovery"]), cooldown=cooldown)
    return found
