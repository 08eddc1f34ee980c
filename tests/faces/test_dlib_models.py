"""dlib from several threads, in a process of its own: it used to corrupt the heap and abort."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from latentedit.errors import FaceError
from latentedit.faces.dlib_models import run_hog

WORK = """
import json, sys, threading
from importlib.resources import files
import numpy as np
from PIL import Image
from latentedit.faces.descriptors import describe
from latentedit.faces.detect import detect
from latentedit.images import load_image

photo = load_image(str(files("latentedit.assets") / "photos" / "portrait_a.jpg")).crop((250, 40, 750, 540))
photos = [photo.resize((side, side)) for side in (200, 220, 240, 260)]

def look(index):
    picture = photos[index % len(photos)]
    faces = detect(picture) + (detect(picture, detector="cnn", scales=[0.6]) if index % 4 == 0 else [])
    seen = [face.landmarks.round(6).tolist() for face in faces]
    return seen + [describe(picture, faces[0].landmarks).round(4).tolist()]

alone = [look(index) for index in range(8)]
together, barrier = [None] * 8, threading.Barrier(8)

def run(index):
    barrier.wait()
    for _ in range(2):
        together[index] = look(index)

threads = [threading.Thread(target=run, args=(index,)) for index in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([a == b for a, b in zip(alone, together)]))
"""


def test_eight_threads_see_what_one_sees() -> None:
    done = subprocess.run([sys.executable, "-c", WORK], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == [True] * 8


def test_what_dlib_objects_to_is_one_line() -> None:
    with pytest.raises(
        FaceError, match=r"The face detector fails on a picture of 5 x 4 pixels \(.+\)\. Cut out"
    ) as error:
        run_hog(np.zeros((4, 5, 2), np.uint8))
    assert "\n" not in str(error.value)
