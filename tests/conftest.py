"""Generated examples: new ones at every run of a developer, the same ones at every run of CI.

What a developer's run finds becomes an explicit example; a submission is judged by what it
changed and not by the luck of a draw.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")
