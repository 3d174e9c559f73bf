"""What is on the screen, compared with pictures of it in ``tests/browser/pictures``. ``make pictures`` renews them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page

from stockformer_widgets.components.drawing import RIGHT

PROJECT = Path(__file__).parents[2]
KEPT = PROJECT / "tests" / "browser" / "pictures"
CHANGED = PROJECT / "test-failures" / "pictures"

#: The Chromium that the pictures are of.
VERSION = KEPT / "chromium.txt"

#: How much of 255 a colour may be off, and in how many pixels it may be further off. Two runs give the same picture,
#: bit for bit, and a kept one is at most 8 off. A label that moves by a pixel changes 260 pixels by more than 24, a
#: badge that is missing 1100. A digit changes about 12, and on another processor the last ones may be others: a large
#: part of the page has more of them.
COLOR, PIXELS, PIXELS_PER_MILLION = 24, 150, 100
#: Another Chromium draws every letter a little otherwise: the share of pixels that may be further off then.
SHARE = 0.05
#: How long a part that does not look as expected must be unchanged until that counts: a page that waits for a busy
#: machine is unchanged, too.
_STILL_SECONDS = {"compare": 20, "renew": 2}
_LIMIT_SECONDS = 90

#: Whether the kernel works, a view waits for its numbers, or bqplot has not yet fitted a figure to its width.
_IS_AT_WORK = """right => {
    const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
    const end = part => part?.getBoundingClientRect().right;
    const fits = figure => Math.abs(end(figure) - end(figure.querySelector('.plotarea_events')) - right) < 1;
    const figures = [...document.querySelectorAll('.bqplot')].filter(figure => figure.checkVisibility());
    return kernel?.status === 'busy' || document.querySelector('.stockformer-outdated') || !figures.every(fits);
}"""


def changes(page: Page, parts: Mapping[str, Locator | Page]) -> list[str]:
    """What no longer looks like its picture, and where; with PICTURES=renew nothing, the new pictures are kept."""
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    _forget_heights(page)
    if _renews():
        VERSION.write_text(f"{_version(page)}\n")
    found = [(name, _change(page, name, part)) for name, part in parts.items()]
    return [f"{name} ({change})" for name, change in found if change]


def expect_unchanged(changed: list[str]) -> None:
    """Fail with what to do about `changes`."""
    assert not changed, (
        f"not as in {KEPT}: {', '.join(changed)}; old, new and difference are in {CHANGED}; "
        "if the change is meant, run make pictures"
    )


def _forget_heights(page: Page) -> None:
    """Captions are as high as their longest text so far until their width changes."""
    size = page.viewport_size
    assert size is not None
    for width in (size["width"] - 100, size["width"]):
        page.set_viewport_size({"width": width, "height": size["height"]})
        page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _change(page: Page, name: str, part: Locator | Page) -> str:
    file = KEPT / f"{name}.png"
    old = _pixels(file.read_bytes()) if file.exists() else np.zeros((0, 0, 3), np.int16)
    new = _at_rest(page, part, old)
    if _alike(old, new) or (_version(page) != VERSION.read_text().strip() and _resembles(old, new)):
        return ""
    CHANGED.mkdir(parents=True, exist_ok=True)
    new = _rounded(new)
    Image.fromarray(_old_new_and_difference(old, new)).save(CHANGED / file.name)
    if _renews():
        _of_a_palette(Image.fromarray(new.astype(np.uint8))).save(file, optimize=True)
        return ""
    return _where(old, new)


def _renews() -> bool:
    return os.environ.get("PICTURES") == "renew"


def _version(page: Page) -> str:
    browser = page.context.browser
    assert browser is not None
    return browser.version.partition(".")[0]


def _at_rest(page: Page, part: Locator | Page, expected: np.ndarray) -> np.ndarray:
    """[height, width, RGB] of a part of the page, as soon as it looks as expected or has stopped to change."""
    start = since = monotonic()
    seen = _taken(part)
    still = _STILL_SECONDS["renew" if _renews() else "compare"]
    while not _alike(expected, seen) and monotonic() - since < still:
        assert monotonic() - start < _LIMIT_SECONDS, f"{part} does not come to rest"
        before, seen = seen, _taken(part)
        if not _alike(before, seen) or page.evaluate(_IS_AT_WORK, RIGHT):
            since = monotonic()
    return seen


def _taken(part: Locator | Page) -> np.ndarray:
    return _pixels(part.screenshot(animations="disabled"))


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), dtype=np.int16)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    """With 16 steps a channel, which takes half of the space in a file."""
    return np.rint(pixels / 17).astype(np.int16) * 17


def _of_a_palette(picture: Image.Image) -> Image.Image:
    """Where 256 colours are enough: that takes half of the space again."""
    return picture.convert("P", palette=Image.Palette.ADAPTIVE) if picture.getcolors(256) else picture


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape:
        return False
    differs = _differs(one, other)
    return bool(differs.sum() <= max(PIXELS, PIXELS_PER_MILLION * differs.size / 1e6))


def _resembles(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether another Chromium may have drawn the same."""
    height, width = (min(sizes) for sizes in zip(one.shape[:2], other.shape[:2], strict=True))
    near = all(abs(a - b) <= 8 for a, b in zip(one.shape, other.shape, strict=True))
    return near and bool(_differs(one[:height, :width], other[:height, :width]).mean() <= SHARE)


def _differs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """[height, width] whether a colour is another."""
    return np.abs(one - other).max(axis=-1) > COLOR


def _where(one: np.ndarray, other: np.ndarray) -> str:
    (high, wide), (new_high, new_wide) = one.shape[:2], other.shape[:2]
    if one.shape != other.shape:
        return f"{wide} x {high} became {new_wide} x {new_high}"
    rows, columns = np.nonzero(_differs(one, other))
    return f"{len(rows)} pixels from ({columns.min()}, {rows.min()}) to ({columns.max()}, {rows.max()})"


def _old_new_and_difference(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The three beside each other; what differs is red on a faint copy of the new."""
    height, width = (max(sizes) for sizes in zip(old.shape[:2], new.shape[:2], strict=True))
    whole = [np.pad(one, [(0, height - one.shape[0]), (0, width - one.shape[1]), (0, 0)]) for one in (old, new)]
    difference = (255 + whole[1]) // 2
    difference[_differs(*whole)] = 255, 0, 0
    return np.hstack([*whole, difference]).astype(np.uint8)
