"""Bare uvicorn and one FastAPI route that answers with our JSON: no key, no limit, no count.

python fastapi_peer.py PORT BODY_FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI


def main() -> None:
    """Serve until killed."""
    port, prices = int(sys.argv[1]), {}
    price = json.loads(Path(sys.argv[2]).read_text("utf-8"))
    prices[price["asset"]] = price
    app = FastAPI()

    @app.get("/price")
    async def get_price(asset: str) -> dict[str, Any]:
        return prices[asset]

    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="error")


if __name__ == "__main__":
    main()
