"""The /docs page: Swagger UI over the OpenAPI document, from this machine where its files are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi.openapi.docs import get_swagger_ui_html

FILES: Final = {"swagger-ui-bundle.js": "text/javascript; charset=utf-8", "swagger-ui.css": "text/css; charset=utf-8"}
"""The files of Swagger UI that the page needs, with their media types."""

PACKAGE: Final = "fastapi_offline"
"""A package whose wheel holds them, in `static/`; used where it is installed, never imported."""


class DocsPage:
    """The page and the files it needs, read once."""

    def __init__(self, *, title: str, openapi_url: str, assets: str = "") -> None:
        """`assets` is a folder with the files; empty looks for the package.

        Where neither is there, the page names FastAPI's default host, cdn.jsdelivr.net.
        Raises ValueError for a folder that lacks a file.
        """
        folder = Path(assets) if assets else _installed()
        self.assets: Mapping[str, tuple[bytes, str]] = {}
        """Content and media type of each file, by its path below /docs."""
        urls: dict[str, Any] = {}
        if folder is not None:
            missing = [name for name in FILES if not (folder / name).is_file()]
            if missing:
                raise ValueError(f"docs_assets: {folder} has no {' and no '.join(missing)}")
            self.assets = {f"/docs/{name}": ((folder / name).read_bytes(), kind) for name, kind in FILES.items()}
            urls = {"swagger_js_url": "/docs/swagger-ui-bundle.js", "swagger_css_url": "/docs/swagger-ui.css"}
        self.html: bytes = bytes(
            get_swagger_ui_html(openapi_url=openapi_url, title=title, swagger_favicon_url="data:,", **urls).body
        )
        """The page."""


def _installed() -> Path | None:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.origin:
        return None
    folder = Path(found.origin).parent / "static"
    return folder if all((folder / name).is_file() for name in FILES) else None
