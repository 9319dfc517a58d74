"""How fast tickers become ticks: our sessions beside the ticker parsers of ccxt and cryptofeed, on the same frames.

Ours is the whole of `Session.receive`: JSON, symbol look-up, sequence checks, exact decimals, the
finished Tick. Theirs is JSON decoding (orjson for ccxt, as its socket client does; cryptofeed brings
its own) and their own ticker parser or handler, with symbols known in advance and a callback that
keeps the result. cryptofeed's ticker has a bid and an ask, ours the last price and the volume as well.

Frames are recorded ones where they are on this machine, and generated ones of each venue's current
generation: 60 symbols, 100 frames a second, prices that move a few steps at a time, every third
frame a trade. Each pass begins with nothing remembered of the prices to come. Rates are per second
of processor time, so that a busy machine disturbs little. What a peer cannot read is said so.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from trinity_core.assets import Listing, load_assets
from trinity_core.venues import Venue
from trinity_feeds.terms import SessionSettings
from trinity_feeds.venues import VENUES

ROUNDS = 9
FRAMES = 6_000
SYMBOLS = 60
RECORDED = Path(__file__).parents[2] / "shared" / "exchanges" / "recorded"
UNIX_NS = 1_790_000_000_000_000_000
TIME_MS = 1_790_000_000_000

Run = Callable[[], int]
"""Reads a corpus once from a fresh start and returns the number of tickers it made."""
Maker = Callable[["Corpus"], Run | str]
"""Gets a contestant ready for a pass; a text says why it cannot read the corpus."""


@dataclass
class Corpus:
    """Frames of one venue."""

    venue: Venue
    name: str
    frames: list[bytes]
    texts: list[str] = field(init=False)
    symbols: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    passes: int = 1

    def __post_init__(self) -> None:
        self.texts = [frame.decode() for frame in self.frames]
        self.passes = max(1, FRAMES // len(self.frames))


# Frames.


class _Entry(msgspec.Struct):
    raw: msgspec.Raw
    kind: str
    channel: str
    provenance: str


TICKERS = {
    Venue.COINBASE: ("advanced:ticker",),
    Venue.KRAKEN: ("v1:ticker",),
    Venue.GATEIO: ("spot.tickers:update",),
    Venue.CRYPTOCOM: ("ticker",),
    Venue.OKX: ("tickers",),
}
"""Recorded channels with tickers."""


def recorded(venue: Venue) -> Corpus | None:
    """The recorded spot tickers of a venue; None where there are none."""
    path = RECORDED / f"{venue}.jsonl"
    if venue not in TICKERS or not path.is_file():
        return None
    frames, symbols = [], {}
    session = VENUES[venue](listings=[], settings=SessionSettings(), replay=True)
    for line in path.read_bytes().splitlines():
        entry = msgspec.json.decode(line, type=_Entry)
        if entry.kind == "ws" and entry.channel in TICKERS[venue] and entry.provenance == "recorded":
            ticks = session.receive(bytes(entry.raw), 0, 0)
            symbols |= {tick.symbol: None for tick in ticks}
            if ticks:
                frames.append(bytes(entry.raw))
    return Corpus(venue, "recorded", frames, symbols=list(symbols))


def generated(venue: Venue) -> Corpus:
    """Frames of the venue's current generation, the same at every run."""
    rng = random.Random(str(venue))
    symbols = list(load_assets().symbols(venue))[:SYMBOLS]
    steps = {symbol: rng.randrange(50_000, 9_000_000) for symbol in symbols}
    last = dict(steps)
    volume = {symbol: rng.randrange(10**6, 10**10) for symbol in symbols}
    frames = []
    for number in range(FRAMES):
        symbol = symbols[int(SYMBOLS * rng.random() ** 2)]
        steps[symbol] += rng.choice((-3, -2, -1, -1, 0, 1, 1, 2, 3))
        if number % 3 == 0:
            last[symbol] = steps[symbol]
            volume[symbol] += rng.randrange(1, 10_000)
        values = {
            "last": f"{last[symbol] / 100:.2f}",
            "bid": f"{(steps[symbol] - 1) / 100:.2f}",
            "ask": f"{(steps[symbol] + rng.choice((1, 1, 2))) / 100:.2f}",
            "volume": f"{volume[symbol] / 10_000:.4f}",
            "size": f"{rng.randrange(1, 10**8) / 10**8:.8f}",
            "high": f"{last[symbol] / 99:.2f}",
            "low": f"{last[symbol] / 101:.2f}",
        }
        frames.append(GENERATORS[venue](symbol, values, number).encode())
    return Corpus(venue, "generated", frames, symbols=symbols)


def _minutes(number: int) -> str:
    return f"{number // 6_000 % 60:02d}:{number // 100 % 60:02d}.{number % 100:02d}"


def _coinbase(symbol: str, v: dict[str, str], number: int) -> str:
    return (
        f'{{"channel":"ticker","client_id":"","timestamp":"2026-09-21T14:{_minutes(number)}8568804Z","sequence_num":{number},"events":[{{"type":"update","tickers":[{{"type":"ticker",'
        f'"product_id":"{symbol}","price":"{v["last"]}","volume_24_h":"{v["volume"]}","low_24_h":"{v["low"]}",'
        f'"high_24_h":"{v["high"]}","low_52_w":"{v["low"]}","high_52_w":"{v["high"]}",'
        f'"price_percent_chg_24_h":"0.09601107287722","best_bid":"{v["bid"]}","best_ask":"{v["ask"]}",'
        f'"best_bid_quantity":"{v["size"]}","best_ask_quantity":"{v["size"]}"}}]}}]}}'
    )


def _gemini(symbol: str, v: dict[str, str], number: int) -> str:
    return (
        f'{{"u":{1764560000000000 + number},"E":{UNIX_NS + number * 1_000_003},"s":"{symbol}","b":"{v["bid"]}",'
        f'"B":"{v["size"]}","a":"{v["ask"]}","A":"{v["size"]}","c":"{v["last"]}","C":"{v["size"]}"}}'
    )


def _kraken(symbol: str, v: dict[str, str], number: int) -> str:
    return (
        f'{{"channel":"ticker","type":"update","data":[{{"symbol":"{symbol}","bid":{v["bid"]},"bid_qty":{v["size"]},'
        f'"ask":{v["ask"]},"ask_qty":{v["size"]},"last":{v["last"]},"volume":{v["volume"]},"vwap":{v["low"]},'
        f'"low":{v["low"]},"high":{v["high"]},"change":-1.37,"change_pct":-0.23,"trades":{number},'
        f'"timestamp":"2026-09-21T14:{_minutes(number)}8568Z"}}]}}'
    )


def _gateio(symbol: str, v: dict[str, str], number: int) -> str:
    return (
        f'{{"time":{TIME_MS // 1000 + number // 100},"time_ms":{TIME_MS + number * 10},"channel":"spot.tickers",'
        f'"event":"update","result":{{"currency_pair":"{symbol}","last":"{v["last"]}","lowest_ask":"{v["ask"]}",'
        f'"highest_bid":"{v["bid"]}","change_percentage":"0.2899","base_volume":"{v["volume"]}",'
        f'"quote_volume":"942042493.4857494","high_24h":"{v["high"]}","low_24h":"{v["low"]}"}}}}'
    )


def _cryptocom(symbol: str, v: dict[str, str], number: int) -> str:
    return (
        f'{{"id":-1,"method":"subscribe","code":0,"result":{{"instrument_name":"{symbol}","subscription":"ticker.{symbol}",'
        f'"channel":"ticker","data":[{{"h":"{v["high"]}","l":"{v["low"]}","a":"{v["last"]}","c":"0.0092","b":"{v["bid"]}",'
        f'"bs":"{v["size"]}","k":"{v["ask"]}","ks":"{v["size"]}","i":"{symbol}","v":"{v["volume"]}",'
        f'"vv":"169819487.92","oi":"0","t":{TIME_MS + number * 10}}}]}}}}'
    )


def _okx(symbol: str, v: dict[str, str], number: int) -> str:
    return (
        f'{{"arg":{{"channel":"tickers","instId":"{symbol}"}},"data":[{{"instType":"SPOT","instId":"{symbol}",'
        f'"last":"{v["last"]}","lastSz":"{v["size"]}","askPx":"{v["ask"]}","askSz":"{v["size"]}","bidPx":"{v["bid"]}",'
        f'"bidSz":"{v["size"]}","open24h":"{v["low"]}","high24h":"{v["high"]}",'
        f'"low24h":"{v["low"]}","sodUtc0":"{v["low"]}",'
        f'"sodUtc8":"{v["high"]}","volCcy24h":"401234567.89",'
        f'"vol24h":"{v["volume"]}","ts":"{TIME_MS + number * 10}"}}]}}'
    )


GENERATORS = {
    Venue.COINBASE: _coinbase,
    Venue.GEMINI: _gemini,
    Venue.KRAKEN: _kraken,
    Venue.GATEIO: _gateio,
    Venue.CRYPTOCOM: _cryptocom,
    Venue.OKX: _okx,
}


# Contestants.


def trinity(corpus: Corpus) -> Run:
    """Our session, connected and past its first frames, with nothing remembered of the corpus."""
    kind = VENUES[corpus.venue]
    listings = [(symbol, Listing(corpus.venue, symbol, "USD")) for symbol in corpus.symbols]
    session: Any = kind(listings=listings, settings=SessionSettings())
    session.connected(0, UNIX_NS)
    for market in session._subscriptions.markets:
        while market.early:
            session._subscriptions.data(market, 0)
    kept: list[Any] = []

    def run() -> int:
        receive, keep = session.receive, kept.extend
        for frame in corpus.frames:
            keep(receive(frame, 1, UNIX_NS))
        return len(kept)

    return run


def ccxt_parsers() -> Maker | None:
    """Makes ccxt's passes; None where it is not installed."""
    try:
        import ccxt.pro as pro
        import orjson
    except ImportError:
        return None
    names = {Venue.GATEIO: "gate"}

    def make(corpus: Corpus) -> Run | str:
        if corpus.venue is Venue.GEMINI:
            return "no ticker of the current socket"
        if corpus.venue is Venue.KRAKEN and corpus.name == "recorded":
            return "no ticker of v1"
        exchange = getattr(pro, names.get(corpus.venue, str(corpus.venue)))()
        exchange.set_markets([_ccxt_market(exchange, symbol) for symbol in corpus.symbols])
        return _ccxt_run(exchange, corpus, orjson.loads)

    return make


def _ccxt_market(exchange: Any, symbol: str) -> Any:
    base, quote = symbol.replace("/", "-").replace("_", "-").split("-")
    known = {"id": symbol, "symbol": f"{base}/{quote}", "base": base, "quote": quote, "type": "spot", "spot": True}
    return exchange.safe_market_structure(known)


def _ccxt_run(exchange: Any, corpus: Corpus, loads: Callable[[str], Any]) -> Run:
    kept: list[Any] = []
    market = exchange.safe_market
    parse = getattr(exchange, "parse_ws_ticker", exchange.parse_ticker)

    class Client:
        """Keeps what a handler resolves."""

        def resolve(self, result: Any, _key: str) -> None:
            kept.append(result)

    client = Client()

    def coinbase() -> int:
        for text in corpus.texts:
            for event in loads(text)["events"]:
                kept.extend(parse(ticker, market(ticker["product_id"])) for ticker in event["tickers"])
        return len(kept)

    def kraken() -> int:
        for text in corpus.texts:
            exchange.handle_ticker(client, loads(text))
        return len(kept)

    def gateio() -> int:
        kept.extend(exchange.parse_ticker(loads(text)["result"]) for text in corpus.texts)
        return len(kept)

    def cryptocom() -> int:
        for text in corpus.texts:
            result = loads(text)["result"]
            known = market(result["instrument_name"])
            kept.extend(parse(ticker, known) for ticker in result["data"])
        return len(kept)

    def okx() -> int:
        for text in corpus.texts:
            kept.extend(exchange.parse_ticker(ticker) for ticker in loads(text)["data"])
        return len(kept)

    by_venue: dict[Venue, Run] = {
        Venue.COINBASE: coinbase,
        Venue.KRAKEN: kraken,
        Venue.GATEIO: gateio,
        Venue.CRYPTOCOM: cryptocom,
        Venue.OKX: okx,
    }
    return by_venue[corpus.venue]


def cryptofeed_handlers() -> Maker | None:
    """Makes cryptofeed's passes; None where it is not installed."""
    try:
        from cryptofeed.defines import TICKER
        from cryptofeed.exchanges import OKX, CryptoDotCom, Gateio, Kraken
        from cryptofeed.symbols import Symbols
    except ImportError:
        return None
    kinds = {Venue.KRAKEN: Kraken, Venue.GATEIO: Gateio, Venue.CRYPTOCOM: CryptoDotCom, Venue.OKX: OKX}

    def make(corpus: Corpus) -> Run | str:
        if corpus.venue not in kinds:
            return "no ticker of this venue"
        if corpus.venue is Venue.KRAKEN and corpus.name == "generated":
            return "no v2"
        if corpus.venue is Venue.CRYPTOCOM and corpus.name == "generated":
            return "no v1, whose prices are strings"
        kind = kinds[corpus.venue]
        Symbols.set(kind.id, {symbol: symbol for symbol in corpus.symbols}, {"instrument_type": {}})
        feed = kind(symbols=corpus.symbols[:1], channels=[TICKER], callbacks={})
        kept: list[Any] = []

        async def keep(ticker: Any, _received: float) -> None:
            kept.append(ticker)

        feed.callbacks = {TICKER: [keep]}

        def run() -> int:
            handle = feed.message_handler
            for text in corpus.texts:
                try:
                    handle(text, None, 0.0).send(None)
                except StopIteration:
                    continue
                raise RuntimeError("the handler waits for something")
            return len(kept)

        return run

    return make


# Measuring.


def measure(corpus: Corpus, contestants: dict[str, Maker | None]) -> dict[str, Any]:
    """Alternate the contestants; medians of ticks a second of one core, and our ratio to each peer."""
    row: dict[str, Any] = {"venue": str(corpus.venue), "frames": corpus.name, "count": len(corpus.frames)}
    able: dict[str, Maker] = {}
    for name, maker in contestants.items():
        ready = "not installed" if maker is None else maker(corpus)
        if isinstance(ready, str):
            row[name] = ready
        elif maker is not None:
            made = ready()
            if made < len(corpus.frames):
                raise RuntimeError(f"{name} made {made} tickers of {len(corpus.frames)} frames of {corpus.venue}")
            able[name] = maker
    rates: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(ROUNDS):
        for name, maker in able.items():
            runs = [run for run in (maker(corpus) for _ in range(corpus.passes)) if not isinstance(run, str)]
            gc.collect()
            began = time.process_time()
            made = sum(run() for run in runs)
            rates[name].append(made / (time.process_time() - began))
    for name, measured in rates.items():
        row[name] = round(statistics.median(measured))
    for name in able:
        if name != "trinity":
            row[f"trinity/{name}"] = round(row["trinity"] / row[name], 2)
    return row


def main() -> int:
    """Print the table and write benchmarks/results/decode.json."""
    contestants: dict[str, Maker | None] = {
        "trinity": trinity,
        "ccxt": ccxt_parsers(),
        "cryptofeed": cryptofeed_handlers(),
    }
    for name, maker in contestants.items():
        if maker is None:
            print(f"{name} is not installed here and is left out")
    if not RECORDED.is_dir():
        print("the recorded frames are not on this machine; generated frames only")
    rows = []
    print(f"{'venue':10} {'frames':>9} {'n':>5} {'trinity/s':>10} {'ccxt/s':>10} {'cryptofeed/s':>13}   ratios")
    for venue in Venue:
        corpora: Sequence[Corpus | None] = (recorded(venue), generated(venue))
        for corpus in corpora:
            if corpus is None or not corpus.frames:
                continue
            row = measure(corpus, contestants)
            rows.append(row)
            print(_line(row), flush=True)
    result = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "peers": {name: _version(name) for name in ("ccxt", "cryptofeed", "orjson", "msgspec")},
        "rounds": ROUNDS,
        "rows": rows,
    }
    target = Path(__file__).with_name("results")
    target.mkdir(exist_ok=True)
    target.joinpath("decode.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0


def _line(row: dict[str, Any]) -> str:
    cells = [f"{row[name]:,}" if isinstance(row[name], int) else "-" for name in ("trinity", "ccxt", "cryptofeed")]
    ratios = [f"{row[key]:.1f}x {key.partition('/')[2]}" for key in row if "/" in key]
    reasons = [f"{name}: {row[name]}" for name in ("ccxt", "cryptofeed") if isinstance(row[name], str)]
    numbers = f"{cells[0]:>10} {cells[1]:>10} {cells[2]:>13}"
    return f"{row['venue']:10} {row['frames']:>9} {row['count']:>5} {numbers}   {'  '.join([*ratios, *reasons])}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    sys.exit(main())
