"""`python -m trinity_webhook [ready-file]`: a webhook service set by the environment alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trinity_webhook.main import main

if __name__ == "__main__":
    sys.exit(main(values={}, environ=os.environ, ready_file=Path(sys.argv[1]) if len(sys.argv) > 1 else None))
