"""Style sheet, scripts and icon, served from memory under an address that names their content, so that browsers may keep them for ever."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from archive_service.digests import digest_bytes
from archive_service.errors import NotFound

router = APIRouter(include_in_schema=False)

STATIC_DIR: Final = Path(__file__).parent / "static"
_MEDIA_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FOR_EVER: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file pages need."""

    content: bytes
    media_type: str
    version: str
    """First characters of its SHA-256."""


@cache
def assets() -> dict[str, Asset]:
    """Returns every asset by its path below the static folder."""
    found = {}
    for path in sorted(STATIC_DIR.rglob("*")):
        if path.suffix in _MEDIA_TYPES:
            content = path.read_bytes()
            found[path.relative_to(STATIC_DIR).as_posix()] = Asset(
                content=content, media_type=_MEDIA_TYPES[path.suffix], version=digest_bytes(content).hex[:12]
            )
    return found


def asset_url(name: str) -> str:
    """Returns the address of an asset in its present version."""
    return f"/static/{assets()[name].version}/{name}"


@router.get("/static/{version}/{name:path}")
def get_asset(version: str, name: str) -> Response:
    """Returns an asset; one of another version (a page from before an update) is answered with the present one, not kept."""
    asset = assets().get(name)
    if asset is None:
        raise NotFound(f"no asset {name!r}")
    cache_control = _FOR_EVER if version == asset.version else "no-cache"
    return Response(asset.content, media_type=asset.media_type, headers={"Cache-Control": cache_control})


@router.get("/favicon.ico")
def get_favicon() -> Response:
    """Returns the icon under the address browsers ask for by themselves."""
    return get_asset(assets()["icon.svg"].version, "icon.svg")
