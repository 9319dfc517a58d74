"""`python -m trinity_feeds.sandbox`."""

from __future__ import annotations

import sys

from trinity_feeds.sandbox.main import main

if __name__ == "__main__":
    sys.exit(main())
