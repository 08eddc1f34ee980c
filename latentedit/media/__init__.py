"""Films and sheets of pictures: GIF, MP4, WebP, PNG frames, contact sheets.

Everything takes PIL images (or uint8 arrays ``[H, W, 3]``) and writes atomically; the same frames give the same bytes.
"""

from __future__ import annotations

from latentedit.media.film import save_animation, save_frames, save_gif, save_mp4, save_webp
from latentedit.media.sheet import contact_sheet

__all__ = ["contact_sheet", "save_animation", "save_frames", "save_gif", "save_mp4", "save_webp"]
