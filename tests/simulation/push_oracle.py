"""What a webhook engine may do, from what endpoints and the market saw: kept another way than the engine keeps it.

Nothing here is shared with the code under test but the values that pass between the two.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from simulation.faulty_endpoints import THRESHOLD, Call, Offer, S, World
from trinity_core.webhook_retry import Outcome
from trinity_core.webhook_rules import Crossing, Direction, EveryChange
from trinity_core.webhooks import DeliveryClass, DeliveryState, Subscription

PAUSES_S = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
JITTER = 0.1
MOST_PAUSE_S = 60
FAILURES = 5
HAIR_NS = 2_000
"""Times are kept in microseconds."""
SLACK_NS = 400 * S
"""Two looks at the outbox, a probe, and those before it in line."""
LASTING_NS = 2 * 3_600 * S


class Told(NamedTuple):
    """One alert, as it has to be."""

    number: int
    direction: str
    price: Decimal
    suppressed: int
    at_ns: int


class Oracle:
    """Judges a run that is over; `wrong` is empty where the engine kept its word."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tables = world.stage.tables
        self.wrong: list[str] = []
        self.checked: Counter[str] = Counter()
        self._offered_ns = {offer.change.sequence: offer.at_ns for offer in world.offers}
        self._by_endpoint: defaultdict[str, list[Call]] = defaultdict(list)
        self._by_message: defaultdict[str, list[Call]] = defaultdict(list)
        for call in world.calls:
            self._by_endpoint[call.arrival.endpoint].append(call)
            if not call.arrival.is_tick:
                self._by_message[call.arrival.message].append(call)

    def judge(self) -> list[str]:
        """Everything that is wrong."""
        calm = self._world.faults.kill_s is None and self._world.faults.outage_s is None
        for subscription in self._world.alerting:
            self._sides(subscription)
            self._order(subscription)
            if calm:
                self._exactly(subscription)
            self._lasting(subscription)
        self._nothing_lost()
        self._schedule(calm=calm)
        for endpoint in self._world.endpoints:
            calls = self._by_endpoint[endpoint.endpoint]
            self._rate(calls, endpoint.rate_per_s)
            self._crowd(calls, endpoint.in_flight_max)
            self._circuit(endpoint.endpoint, calls)
            self._given_up(endpoint.endpoint, calls)
            self._ticks(endpoint.endpoint, calls, endpoint.ttl_ms)
        return self.wrong

    # Alerts: from the market to the store.

    def _exactly(self, subscription: Subscription) -> None:
        """Without kills and outages every alert can be told beforehand."""
        if subscription.endpoint in self._disabled():
            return  # nothing is evaluated for one that is given up
        for asset in subscription.assets:
            made = self._alerts(subscription, asset)
            assert isinstance(subscription.rule, Crossing)
            wanted = list(crossings(subscription.rule, [o for o in self._world.offers if o.change.asset == asset]))
            self.checked["alerts foretold"] += len(wanted)
            found = [
                Told(data["number"], data["direction"], Decimal(data["price"]["price"]), data["suppressed"], at_ns)
                for data, at_ns in made
            ]
            if [each[:4] for each in found] != [each[:4] for each in wanted]:
                self.wrong.append(f"{subscription.subscription} {asset}: made {found}, not {wanted}")
            for one, other in zip(found, wanted, strict=False):
                if abs(one.at_ns - other.at_ns) > 2 * S:
                    self.wrong.append(f"{subscription.subscription} {asset}: {one} at the wrong time, not {other}")

    def _sides(self, subscription: Subscription) -> None:
        """Always: no crossing is told twice, a cooldown and a band are kept, and no number is left out."""
        rule = subscription.rule
        assert isinstance(rule, Crossing)
        for asset in subscription.assets:
            told = self._alerts(subscription, asset)
            self.checked["alerts"] += len(told)
            before_ns, side = None, ""
            for number, (data, at_ns) in enumerate(told, 1):
                where = f"{subscription.subscription} {asset} {number}"
                price, way = Decimal(data["price"]["price"]), data["direction"]
                if data["number"] != number:
                    self.wrong.append(f"{where}: it has the number {data['number']}")
                if before_ns is not None and at_ns - before_ns < rule.cooldown_ms * 10**6:
                    self.wrong.append(f"{where}: within the cooldown")
                if rule.direction is Direction.EITHER and rule.cooldown_ms == 0 and way == side:
                    self.wrong.append(f"{where}: the same crossing again")
                if way == "up" and price < (high := THRESHOLD + rule.hysteresis * (rule.direction is Direction.EITHER)):
                    self.wrong.append(f"{where}: {price} is below {high}")
                if way == "down" and price > (
                    low := THRESHOLD - rule.hysteresis * (rule.direction is Direction.EITHER)
                ):
                    self.wrong.append(f"{where}: {price} is above {low}")
                before_ns, side = at_ns, way

    def _lasting(self, subscription: Subscription) -> None:
        """Always: a side on which one price stood for hours is told, whatever was away meanwhile.

        One that was left for the band at once may have come and gone between two workers, who look at the newest
        price alone.
        """
        rule = subscription.rule
        assert isinstance(rule, Crossing)
        if rule.direction is not Direction.EITHER or rule.cooldown_ms or subscription.endpoint in self._disabled():
            return
        for asset in subscription.assets:
            told = [(at_ns, str(data["direction"])) for data, at_ns in self._alerts(subscription, asset)]
            offers = [offer for offer in self._world.offers if offer.change.asset == asset]
            over_ns = self._world.offers[-1].at_ns + 40 * 3_600 * S
            times = [offer.at_ns for offer in offers] + [over_ns]
            lasts_ns = {at_ns: until_ns - at_ns for at_ns, until_ns in itertools.pairwise(times)}
            turns = list(sides(rule, offers))
            ends = [turn.at_ns for turn in turns[1:]] + [over_ns]
            for turn, end_ns in zip(turns, ends, strict=True):
                before = [way for at_ns, way in told if at_ns < end_ns - HAIR_NS]
                if before and max(lasts_ns[at_ns] for at_ns, _ in turn.prices) >= LASTING_NS:
                    self.checked["lasting"] += 1
                    if before[-1] != turn.way:
                        self.wrong.append(f"{subscription.subscription} {asset}: nobody was told of {turn.way}")

    def _alerts(self, subscription: Subscription, asset: str) -> list[tuple[dict[str, Any], int]]:
        found = [
            (json.loads(each.payload)["data"], each.create_time_ns)
            for each in self._tables.deliveries.values()
            if each.kind is DeliveryClass.ALERT
            and (each.subscription, each.asset) == (subscription.subscription, asset)
        ]
        return sorted(found, key=lambda each: each[0]["number"])

    # Alerts: from the store to the endpoints.

    def _nothing_lost(self) -> None:
        """What was stored was taken, or failed in a way that is allowed; and nothing else arrived."""
        stored = {name: each for name, each in self._tables.deliveries.items() if each.kind is DeliveryClass.ALERT}
        cuts = Counter(call.arrival.message for call in self._world.calls if call.cut)
        for name, each in stored.items():
            calls = self._by_message[name]
            good = [call for call in calls if call.sent.outcome is Outcome.DELIVERED]
            self.checked["delivered"] += bool(good)
            if each.state is DeliveryState.DELIVERED and not good:
                self.wrong.append(f"{name}: lost")
            if each.state is DeliveryState.PENDING:
                self.wrong.append(f"{name}: still waits")
            if (
                each.state is DeliveryState.FAILED
                and len(calls) < len(PAUSES_S)
                and each.endpoint not in self._disabled()
            ):
                self.wrong.append(f"{name}: given up after {len(calls)} attempts")
            if len(good) > 1 + cuts[name] and not self._world.outages:
                self.wrong.append(f"{name}: taken {len(good)} times, though {cuts[name]} were cut")
            self.checked["again"] += max(0, len(good) - 1)
        for name in self._by_message.keys() - stored.keys():
            self.wrong.append(f"{name}: was never stored")

    def _order(self, subscription: Subscription) -> None:
        """Of one subscription one is under way, and they are taken first in their order."""
        calls = [
            call
            for call in self._by_endpoint[subscription.endpoint]
            if not call.arrival.is_tick and call.arrival.data["subscription"] == subscription.subscription
        ]
        first: dict[str, int] = {}
        for call in calls:
            if call.sent.outcome is Outcome.DELIVERED:
                first.setdefault(call.arrival.message, self._tables.deliveries[call.arrival.message].sequence)
        if list(first.values()) != sorted(first.values()):
            self.wrong.append(f"{subscription.subscription}: out of order")
        for before, after in itertools.pairwise(calls):
            if after.life == before.life and after.arrival.at_ns < before.end_ns:
                self.wrong.append(f"{subscription.subscription}: two at once")

    def _schedule(self, *, calm: bool) -> None:
        for name, calls in self._by_message.items():
            tries = [call for call in calls if not call.cut]
            for number, (before, after) in enumerate(itertools.pairwise(tries), 1):
                if before.life != after.life or number >= len(PAUSES_S):
                    continue
                if before.sent.outcome is Outcome.DELIVERED or self._world.outages:
                    continue  # what became of it could not be stored
                pause_ns = max(PAUSES_S[number] * (1 - JITTER), before.sent.retry_after_s or 0) * S
                waited_ns = after.arrival.at_ns - before.end_ns
                self.checked["retries"] += 1
                if number == len(tries) - 1 and len(tries) > len(PAUSES_S):
                    self.wrong.append(f"{name}: tried {len(tries)} times")
                if waited_ns < pause_ns - S:
                    self.wrong.append(f"{name}: tried again {number} after {waited_ns / S} s, not {pause_ns / S}")
                if calm and waited_ns > self._latest_ns(before, after, number):
                    self.wrong.append(f"{name}: tried again {number} only after {waited_ns / S} s")

    def _latest_ns(self, before: Call, after: Call, number: int) -> float:
        """How long a pause may be: its own, the longest that the endpoint asked for meanwhile, and then its turn."""
        asked_ns = before.end_ns
        for call in self._by_endpoint[before.arrival.endpoint]:
            if call.end_ns <= after.arrival.at_ns and call.sent.retry_after_s:
                asked_ns = max(asked_ns, call.end_ns + call.sent.retry_after_s * S)
        own_ns = PAUSES_S[number] * (1 + JITTER) * S
        return max(own_ns, asked_ns - before.end_ns) + SLACK_NS

    # What one endpoint is spared.

    def _rate(self, calls: Sequence[Call], rate_per_s: int) -> None:
        for before, after in itertools.pairwise(calls):
            self.checked["calls"] += 1
            if before.life == after.life and after.arrival.at_ns - before.arrival.at_ns < S / rate_per_s - HAIR_NS:
                self.wrong.append(f"{before.arrival.endpoint}: two calls within {S / rate_per_s / 10**6} ms")

    def _crowd(self, calls: Sequence[Call], in_flight_max: int) -> None:
        """Alerts under way, and batches of ticks."""
        for is_tick, most in ((True, 1), (False, in_flight_max)):
            under_way: list[Call] = []
            for call in calls:
                if call.arrival.is_tick is is_tick:
                    at_ns = call.arrival.at_ns
                    under_way = [each for each in under_way if each.life == call.life and each.end_ns > at_ns + HAIR_NS]
                    under_way.append(call)
                    if len(under_way) > most:
                        self.wrong.append(f"{call.arrival.endpoint}: {len(under_way)} at once, ticks: {is_tick}")

    def _circuit(self, endpoint: str, calls: Sequence[Call]) -> None:
        """After five failures in a row it is left alone, for twice as long each time, and then asked once."""
        for life in sorted({call.life for call in calls}):
            mine = [call for call in calls if call.life == life]
            events = [(call.arrival.at_ns, 2, index) for index, call in enumerate(mine)]
            # What is called at the very moment of an answer may have heard it, or not.
            events += [
                (call.end_ns + (-HAIR_NS if call.sent.outcome is Outcome.DELIVERED else HAIR_NS), 1, index)
                for index, call in enumerate(mine)
                if not call.cut
            ]
            events += [(at_ns, 0, 0) for at_ns in self._world.revived.get(endpoint, [])]
            quiet = Quiet()
            for at_ns, what, index in sorted(events):
                if what == 0:
                    quiet = Quiet()
                elif what == 1:
                    quiet.ended(mine[index])
                else:
                    self.checked["probes"] += quiet.is_open
                    for complaint in quiet.called(at_ns):
                        self.wrong.append(f"{endpoint}: {complaint}")

    def _given_up(self, endpoint: str, calls: Sequence[Call]) -> None:
        """One that is gone hears nothing until its owner says so; one that failed for five days is given up."""
        revived = self._world.revived.get(endpoint, [])
        for before, after in itertools.pairwise(calls):
            if before.sent.outcome is Outcome.GONE and not before.cut and after.arrival.at_ns > before.end_ns + S:
                self.checked["gone"] += 1
                if not any(before.end_ns <= at <= after.arrival.at_ns for at in revived) and not self._world.outages:
                    self.wrong.append(f"{endpoint}: called after 410")

    # Ticks.

    def _ticks(self, endpoint: str, calls: Sequence[Call], ttl_ms: int) -> None:
        rule = self._world.ticking[endpoint].rule
        newest: Counter[tuple[int, str]] = Counter()
        told: Counter[int] = Counter()
        for call in calls:
            if not call.arrival.is_tick:
                continue
            good = call.sent.outcome is Outcome.DELIVERED and not call.cut
            for price in call.arrival.data["prices"]:
                place = call.life, price["asset"]
                if price["sequence"] <= newest[place]:
                    self.wrong.append(f"{endpoint}: {place} is told {price['sequence']} after {newest[place]}")
                if good:
                    newest[place] = price["sequence"]
                    told[call.life] += 1 + price["skipped"]
                    self.checked["prices"] += 1
                    self.checked["skipped"] += price["skipped"]
                if isinstance(rule, EveryChange):
                    offered = self._offered_ns[price["sequence"]]
                    if call.arrival.at_ns - offered > ttl_ms * 10**6 + S:
                        self.wrong.append(
                            f"{endpoint}: {price['sequence']} is sent {call.arrival.at_ns - offered} ns late"
                        )
        boards = self._world.boards.get(endpoint, {})
        for life, (offered, outstanding) in boards.items():
            if offered != told[life] + outstanding:
                self.wrong.append(f"{endpoint} {life}: {offered} offered, {told[life]} told, {outstanding} wait")

    def _disabled(self) -> set[str]:
        return {notice.endpoint for notice in self._tables.notices}


class Turn(NamedTuple):
    """A price has come to one side, and stays there until the next turn."""

    at_ns: int
    way: str
    prices: list[tuple[int, Decimal]]
    """Those of it that are outside the band."""


class Quiet:
    """When an endpoint must be left alone, by what it answered."""

    def __init__(self) -> None:
        self.is_open = False
        self._streak = 0
        self._pause_s = 1
        self._until_ns = 0
        self._asked_ns = 0
        self._probing = False

    def ended(self, call: Call) -> None:
        """It answered."""
        if call.sent.outcome in (Outcome.DELIVERED, Outcome.GONE):
            self.is_open, self._streak, self._pause_s, self._probing = False, 0, 1, False
            return
        if call.sent.retry_after_s:
            self._asked_ns = max(self._asked_ns, call.end_ns + call.sent.retry_after_s * S)
        self._streak += 1
        if self.is_open and call.arrival.at_ns >= self._until_ns - HAIR_NS:
            self._pause_s = min(2 * self._pause_s, MOST_PAUSE_S)
        elif self.is_open or self._streak < FAILURES:
            return
        self.is_open, self._probing = True, False
        self._until_ns = call.end_ns + self._pause_s * S

    def called(self, at_ns: int) -> Iterator[str]:
        """It is called: what is wrong with that."""
        if at_ns < self._asked_ns - HAIR_NS:
            yield f"called {(self._asked_ns - at_ns) / S} s before the time that it asked for"
        if self.is_open and at_ns < self._until_ns - HAIR_NS:
            yield f"called {(self._until_ns - at_ns) / S} s before its pause is over"
        if self.is_open and self._probing:
            yield "called by two probes at once"
        self._probing = self.is_open


def sides(rule: Crossing, offers: Sequence[Offer]) -> Iterator[Turn]:
    """The turns of a market by a rule's band, worked out from all of its prices at once."""
    either = rule.direction is Direction.EITHER
    high = THRESHOLD + rule.hysteresis * (either or rule.direction is Direction.DOWN)
    low = THRESHOLD - rule.hysteresis * (either or rule.direction is Direction.UP)
    turn = None
    for offer in offers:
        way = "up" if offer.change.price > high else "down" if offer.change.price < low else ""
        if way and (turn is None or turn.way != way):
            if turn is not None:
                yield turn
            turn = Turn(offer.at_ns, way, [])
        if turn is not None and way == turn.way:
            turn.prices.append((offer.at_ns, offer.change.price))
    if turn is not None:
        yield turn


def crossings(rule: Crossing, offers: Sequence[Offer]) -> Iterator[Told]:
    """What a crossing tells of a market that is always fresh."""
    turns = list(sides(rule, offers))
    number, free_ns, suppressed = 0, 0, 0
    for turn, after in itertools.zip_longest(turns[1:], turns[2:]):
        if rule.direction is not Direction.EITHER and turn.way != rule.direction.name.lower():
            continue
        due_ns = max(turn.at_ns, free_ns)
        if after is not None and after.at_ns <= due_ns:
            suppressed += 1
            continue
        number += 1
        shown = [price for when, price in turn.prices if when <= due_ns][-1]
        yield Told(number, turn.way, shown, suppressed, due_ns)
        free_ns, suppressed = due_ns + rule.cooldown_ms * 10**6, 0
