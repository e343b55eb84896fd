"""Films of episodes: a legend under each picture, and files that hold them."""

import importlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from envs.picture.palette import Colour
from rolemarl_jax.config import ConfigError

SECONDS = 0.25  # that a picture stays
LAST = 4  # times as long the last one
PAPER, INK = (255, 255, 255), (33, 37, 41)


def with_legend(
    pictures: Sequence[np.ndarray], entries: Sequence[tuple[str, Colour]]
) -> list[np.ndarray]:
    """Pictures ``[H, W, 3]`` with a line of colours and words under each."""
    below = _legend(pictures[0].shape[1], entries)
    return [np.concatenate([picture, below]) for picture in pictures]


def _legend(width: int, entries: Sequence[tuple[str, Colour]]) -> np.ndarray:
    """Swatches with their words, on as many lines as they need."""
    font, line = ImageFont.load_default(13), 22
    places, x, y = [], 10, 0
    for word, _ in entries:
        length = 22 + round(font.getlength(word)) + 16
        if x + length > width and x > 10:
            x, y = 10, y + line
        places.append((x, y))
        x += length
    picture = Image.new("RGB", (width, y + line + 4), PAPER)
    draw = ImageDraw.Draw(picture)
    for (word, colour), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y + 7, x + 13, y + 20), colour)
        draw.text((x + 20, y + 13), word, INK, font, anchor="lm")
    return np.asarray(picture)


def write(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Writes a film, a GIF or an MP4 by the name's ending.

    Raises:
        ConfigError: as ``require_codec``, or the encoder failed.
    """
    require_codec(path)
    if path.suffix == ".gif":
        write_gif(path, pictures)
    else:
        _write_mp4(path, pictures)


def require_codec(path: Path) -> None:
    """Refuses a file that cannot be written here.

    Raises:
        ConfigError: another ending than .gif and .mp4, or no encoder for the latter.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise ConfigError(
            f"film: got '{path}'; allowed: names that end in .gif or .mp4"
        )
    if path.suffix == ".mp4" and encoder() is None:
        raise ConfigError(
            f"film: got '{path}', but there is no encoder for MP4: pip install "
            "imageio-ffmpeg, or put ffmpeg on the PATH; allowed without: .gif"
        )


def encoder() -> str | None:
    """The ffmpeg of this machine or of the package imageio-ffmpeg, if there is one."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        return importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None


def write_gif(path: str | Path, pictures: Sequence[np.ndarray]) -> None:
    """Writes an animation."""
    # Without dithering, floor stays floor and the file small.
    first, *others = [
        Image.fromarray(picture).quantize(192, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    times = [int(1000 * SECONDS)] * len(pictures)
    times[-1] *= LAST
    first.save(
        path, save_all=True, append_images=others, duration=times, loop=0, optimize=True
    )


def _write_mp4(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """The same as H.264, for which width and height have to be even."""
    film = np.stack([*pictures, *[pictures[-1]] * (LAST - 1)])
    odd = [(0, side % 2) for side in film.shape[1:3]]
    film = np.pad(film, ((0, 0), *odd, (0, 0)), "edge")
    height, width = film.shape[1:3]
    words = [
        *(str(encoder()), "-y", "-loglevel", "error"),
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}"),
        *("-r", str(1 / SECONDS), "-i", "-"),
        *("-pix_fmt", "yuv420p", "-movflags", "+faststart", str(path)),
    ]
    done = subprocess.run(words, input=film.tobytes(), capture_output=True)
    if done.returncode:
        why = done.stderr.decode(errors="replace").strip()
        raise ConfigError(f"film: '{path}' could not be written: {why}")
