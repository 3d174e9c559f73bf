"""Snapshots of widgets: PNG files, and static images for notebooks without a kernel."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ipywidgets import VBox
from PIL import Image, ImageDraw, ImageFont

from stockformer.charts.figures import well_formed
from stockformer.files import write_whole

#: Dots per inch of a file, and of the image in a saved notebook.
_FILE_DPI, _NOTEBOOK_DPI = 150, 72
_GAP = 8  # pixels


class SnapshotBox(VBox):
    """A box with a static image: `save_png` writes it, and a saved notebook contains it beside the widget.

    The notebook's image dates from when the cell ran. It is displayed where
    the widget has no kernel: in a reopened notebook, on a code host, by nbconvert.
    """

    def save_png(self, path: str | Path) -> Path:
        """Write the snapshot as a PNG, drawn by matplotlib without a browser.

        Raises:
            ValueError: the path does not end in ``.png``.
            OSError: the file cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise ValueError(f"the picture is a PNG: expected a path that ends in .png, found {str(path)!r}")
        write_whole({path: self._png(_FILE_DPI)})
        return path

    def _png(self, dpi: int) -> bytes:
        """The snapshot as PNG."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any] | None:
        bundle: dict[str, Any] | None = super()._repr_mimebundle_(**options)
        if bundle is None or self.comm is None:
            return bundle
        try:
            return bundle | {"image/png": self._png(_NOTEBOOK_DPI)}
        except Exception as error:  # the widget itself may be fine, or shows the error
            warnings.warn(f"the saved notebook will have no picture of {self!r}: {error}", stacklevel=2)
            return bundle


def arrange(columns: Sequence[Sequence[bytes]], caption: str, dpi: int) -> bytes:
    """PNGs in columns under a caption, as one PNG."""
    pictures = [[Image.open(io.BytesIO(picture)) for picture in column] for column in columns]
    widths = [max(picture.width for picture in column) for column in pictures]
    heights = [sum(picture.height + _GAP for picture in column) for column in pictures]
    font = ImageFont.load_default(dpi / 5)
    top = round(dpi / 2.5)
    whole = Image.new("RGB", (sum(widths) + _GAP * (len(widths) - 1), top + max(heights)), "white")
    ImageDraw.Draw(whole).text((_GAP, _GAP), well_formed(caption), "black", font)
    left = 0
    for column, width in zip(pictures, widths, strict=True):
        down = top
        for picture in column:
            whole.paste(picture, (left, down))
            down += picture.height + _GAP
        left += width + _GAP
    file = io.BytesIO()
    whole.save(file, format="PNG")
    return file.getvalue()
