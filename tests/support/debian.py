"""Programs that tests need and Debian carries: there, installed, or a failure that says what to do."""

import os
import shutil
import subprocess
from functools import cache

import pytest

INSTALL_S_MAX = 300


@cache
def require(package: str, *, binary: str) -> str:
    """Return the path of a package's program, installing the package where that is possible.

    Never skips: a suite that silently leaves out its real counterparts proves nothing.
    """
    found = shutil.which(binary)
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt("update", "-qq")
        said = _apt("install", "-y", "-qq", "--no-install-recommends", package)
        found = shutil.which(binary)
        if found is None:
            pytest.fail(f"Debian's package {package} could not be installed: {said[-2000:]}")
    if found is None:
        pytest.fail(f"This test needs `{binary}`. Install it: apt-get install {package}")
    return found


def _apt(*arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 -- constant arguments
        ["apt-get", "-o", "DPkg::Lock::Timeout=120", *arguments],  # noqa: S607 -- Debian's own
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_S_MAX,
        env={**_environment(), "DEBIAN_FRONTEND": "noninteractive"},
    )
    return done.stdout + done.stderr


def _environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 -- apt-get needs the machine's PATH and proxies
