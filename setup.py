"""Native sources and package mapping only; the metadata is in pyproject.toml.

The top-level folders ``cuda_ops/`` and ``directions/`` are installed inside the package, so that site-packages gains no
generic name. Nothing is compiled here: the kernels' sources are shipped and built at first use.
"""

from __future__ import annotations

from setuptools import find_packages, setup

MAPPED = {"latentedit.cuda_ops": "cuda_ops", "latentedit.assets.directions": "directions"}


def packages() -> list[str]:
    found = find_packages(include=["latentedit", "latentedit.*"])
    for name, folder in MAPPED.items():
        found += [name, *(f"{name}.{child}" for child in find_packages(folder))]
    return found


setup(packages=packages(), package_dir=MAPPED)
