"""Write deploy/envoy/edge.json from the code that configures Envoy for `trinity up`, or check that it is fresh.

python scripts/edge_file.py            write the file
python scripts/edge_file.py --check    exit 1 if it differs
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from trinity_cli.edge_config import Behind, Edge, configuration

FILE = Path(__file__).resolve().parent.parent / "deploy" / "envoy" / "edge.json"
EDGE = Edge(
    https="0.0.0.0:443",
    udp="0.0.0.0:2679",
    udp_reports="0.0.0.0:2680",
    privatelink="0.0.0.0:8443",
    domain="localhost",
    certificate="/etc/trinity/edge/cert.pem",
    key="/etc/trinity/edge/key.pem",
    admin_socket="/run/trinity/edge.sock",
    source="127.0.0.2",
)
BEHIND = Behind(
    prices=("127.0.0.1:8080",),
    reports=("127.0.0.1:9090",),
    grpc=("127.0.0.1:50051",),
    udp=("127.0.0.1:12679",),
    udp_reports=("127.0.0.1:12680",),
    privatelink=("127.0.0.1:8081",),
)


def main() -> None:
    """Entry point; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Write deploy/envoy/edge.json.")
    parser.add_argument("--check", action="store_true", help="only check that the file is fresh")
    text = json.dumps(configuration(EDGE, BEHIND), indent=2) + "\n"
    if not parser.parse_args().check:
        FILE.write_text(text, "utf-8")
    elif not FILE.exists() or FILE.read_text("utf-8") != text:
        sys.exit("edge: deploy/envoy/edge.json is not fresh; run `make gen` and commit it")


if __name__ == "__main__":
    main()
