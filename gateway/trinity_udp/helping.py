"""What HELP is answered at each port, in forms of different length. Pure."""

from __future__ import annotations

from typing import Final

PRICE_HELP: Final = (
    """\
OK {id} HELP
GET BTC USD [id=7] [c=<cookie>]   price: OK <id> <asset> <price> USD <unix seconds> <sources> <state>
                     state F fresh, D delayed, V divergent; a * after it: simulated, not a market price
PING | TIME | HELP   several lines make a batch; add spaces to earn a longer answer (3 bytes for 1)
GET BTC,ETH USD       is told COOKIE <cookie>: say it again with c=<cookie>
""",
    "OK GET BTC USD | PING | TIME\n",
    "OK GET BTC USD\n",
    "OK GET BTC\n",
)
"""Forms of the answer to HELP at the port for prices, longest first."""
REPORT_HELP: Final = (
    """\
OK {id} HELP
USAGE [id=7] s=<session> t=<unix seconds> q=<sequence> m=<MAC>   totals of the key that opened the session:
                     OK <id> USAGE day=<billed today> month=<billed this month> left=<of the quota, or -> <unix seconds>
PING | TIME | HELP   several lines make a batch; POST /v1/udp/sessions opens a session
""",
    "OK USAGE s= t= q= m= | PING | TIME\n",
    "OK USAGE\n",
)
"""Likewise at the port for reports."""
