"""Photos and image tensors: decoding of anything Pillow reads, and the one tensor convention of the library.

`open_photo` reads a `Photo`: its upright 8-bit sRGB rendition, which everything works on, with what else the file
carried. `save_photo` puts a changed rendition back into the photo's own samples and writes them.
"""

from __future__ import annotations

from latentedit.images.decode import MAX_PIXELS, ImageSource, load_image, open_photo
from latentedit.images.photo import Photo, PhotoInfo, Samples
from latentedit.images.tensors import resize, to_pil, to_tensor, to_uint8
from latentedit.images.write import Quality, check_quality, check_suffix, save_image, save_photo

__all__ = [
    "MAX_PIXELS",
    "ImageSource",
    "Photo",
    "PhotoInfo",
    "Quality",
    "Samples",
    "check_quality",
    "check_suffix",
    "load_image",
    "open_photo",
    "resize",
    "save_image",
    "save_photo",
    "to_pil",
    "to_tensor",
    "to_uint8",
]
