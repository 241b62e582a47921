"""What a scanner or a telephone makes of a paper: a JPEG with tint, tilt, grain and its resolution noted in it."""

import io
import random
from functools import cache
from typing import Any, Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from archive_service.samples.papers import SCAN_PPI, Typesetter

_TINTS: Final = ("#f6f3ea", "#f3efe3", "#f5f4f0", "#efece2")
_CARD_SIZE: Final = (1012, 638)
"""An ID-1 card (85.6 x 54 mm) at 300 dpi."""
_PAGE_SIZE: Final = (1654, 2339)
"""A4 at 200 dpi."""
_GRAIN_TILE: Final = 512


def scanned_page(typesetter: Typesetter, paper: dict[str, Any], *, rng: random.Random) -> bytes:  # JSON
    """Returns the paper as if it had been printed and scanned: colour JPEG of an A4 page at 200 dpi."""
    tilt = {"scanned": True, "tint": rng.choice(_TINTS), "angle": f"{rng.uniform(-0.7, 0.7):.2f}deg"}
    drawn = Image.open(io.BytesIO(typesetter.png(paper | tilt))).convert("RGB")
    page = drawn.resize(_PAGE_SIZE, Image.Resampling.BILINEAR)
    return _jpeg(_grained(page), quality=42)


def identity_card(name: str, identifier: str, born: str, address: str, *, rng: random.Random) -> bytes:
    """Returns a photograph of a card with a portrait: colour JPEG."""
    card = Image.new("RGB", _CARD_SIZE, "#dcebe3")
    draw = ImageDraw.Draw(card)
    for stripe in range(0, _CARD_SIZE[0], 44):  # guilloche-like lines
        draw.arc((stripe - 300, -200, stripe + 420, 840), 200, 320, fill="#c3ddd2", width=2)
    draw.ellipse((40, 30, 130, 120), fill="#c8102e")
    _line(draw, (330, 40), "CỘNG HÒA XÃ HỘI CHỦ NGHĨA VIỆT NAM", 30, "#333333")
    _line(draw, (420, 80), "Độc lập – Tự do – Hạnh phúc", 24, "#333333")
    _line(draw, (390, 128), "CĂN CƯỚC CÔNG DÂN (MẪU)", 44, "#b01020")
    _portrait(draw, rng)
    for top, text, size in (
        (220, f"Số / No.: {identifier}", 40),
        (290, f"Họ và tên / Full name: {name.upper()}", 30),
        (350, f"Ngày sinh / Date of birth: {born}", 30),
        (410, "Quốc tịch / Nationality: Việt Nam", 30),
        (470, f"Nơi cư trú: {address[:38]}", 26),
        (510, address[38:], 26),
    ):
        _line(draw, (330, top), text, size, "#1d1d1d")
    table = Image.new("RGB", (_CARD_SIZE[0] + 180, _CARD_SIZE[1] + 140), rng.choice(("#6b5a49", "#3f4a52", "#8a7a66")))
    table.paste(card, (90, 70))
    return _jpeg(_grained(table.rotate(rng.uniform(-2.5, 2.5), Image.Resampling.BILINEAR)), quality=60)


def site_photograph(caption: str, *, rng: random.Random) -> bytes:
    """Returns a picture of a piece of land: sky, ground, a wall, and the caption a telephone writes into the corner."""
    width, height = 1280, 860
    sky = Image.linear_gradient("L").resize((width, height))
    picture = Image.merge(
        "RGB", (sky.point(lambda v: 150 + v // 4), sky.point(lambda v: 185 + v // 6), Image.new("L", sky.size, 225))
    )
    draw = ImageDraw.Draw(picture)
    horizon = rng.randrange(420, 500)
    draw.polygon([(0, horizon), (width, horizon - rng.randrange(10, 60)), (width, height), (0, height)], fill="#8a9a54")
    for _ in range(900):
        x, y = rng.randrange(width), rng.randrange(horizon, height)
        draw.line(
            (x, y, x + rng.randrange(-3, 4), y - rng.randrange(6, 22)),
            fill=rng.choice(("#6f8240", "#a3ad62", "#7b6b45")),
            width=2,
        )
    left = rng.randrange(120, 420)
    draw.rectangle((left, horizon - 150, left + 420, horizon + 60), fill="#c9b79b", outline="#8b7a60", width=4)
    draw.polygon([(left - 30, horizon - 150), (left + 210, horizon - 250), (left + 450, horizon - 150)], fill="#9a4a3a")
    _line(draw, (24, height - 44), caption, 26, "#ffe680")
    return _jpeg(_grained(picture.filter(ImageFilter.GaussianBlur(0.8))), quality=55)


def _portrait(draw: ImageDraw.ImageDraw, rng: random.Random) -> None:
    draw.rectangle((50, 220, 280, 530), fill="#b9cfe0")
    draw.ellipse((70, 430, 260, 640), fill=rng.choice(("#2d3a55", "#50323a", "#2f4a3b")))
    draw.rectangle((40, 531, 290, 640), fill="#dcebe3")
    draw.ellipse((115, 270, 215, 420), fill="#e3b692")
    draw.pieslice((110, 255, 220, 400), 180, 360, fill="#1c1713")


def _line(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, size: int, fill: str) -> None:
    draw.text(at, text, font=_font(size), fill=fill)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    import fontpkg_noto_sans

    return ImageFont.truetype(str(fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"), size)


@cache
def _grain(size: tuple[int, int]) -> Image.Image:
    """Soft noise around mid-grey, one tile laid over the whole size; made once per size of picture."""
    noise = random.Random("grain")  # noqa: S311 - grain
    raw = Image.frombytes("L", (_GRAIN_TILE, _GRAIN_TILE), noise.randbytes(_GRAIN_TILE * _GRAIN_TILE))
    tile = raw.filter(ImageFilter.GaussianBlur(0.9)).point([128 + (value - 128) // 5 for value in range(256)])
    grain = Image.new("L", size, 128)
    for left in range(0, size[0], _GRAIN_TILE):
        for top in range(0, size[1], _GRAIN_TILE):
            grain.paste(tile, (left, top))
    return Image.merge("RGB", (grain, grain, grain))


def _grained(picture: Image.Image) -> Image.Image:
    return ImageChops.add(picture, _grain(picture.size), 1, -128)


def _jpeg(picture: Image.Image, *, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality, dpi=(SCAN_PPI, SCAN_PPI), subsampling="4:2:0")
    return out.getvalue()
