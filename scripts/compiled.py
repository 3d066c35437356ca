#!/usr/bin/env python3
"""Compile the modules that every record passes through, beside their sources, with mypyc (decision 0038).

    compiled.py             compile them, unless that was done since they last changed
    compiled.py --remove    remove what was compiled: Python runs the sources again

A C compiler and Python's headers are installed where Debian has them and root runs this. Without them it says so, and the
sources run as they are: nothing but speed is lost. A wheel carries them where HATCH_BUILD_HOOK_ENABLE_CUSTOM=1 is set; that build fails where it cannot compile.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from typing_extensions import override

ROOT = Path(__file__).parents[1]
MODULES = [
    "collector/model/check_digits.py",
    "collector/model/due.py",
    "collector/model/money.py",
    "collector/model/number.py",
    "collector/model/reference.py",
    "collector/pipeline/amounts.py",
    "collector/pipeline/correlate.py",
    "collector/pipeline/documents.py",
    "collector/pipeline/mapping.py",
    "collector/pipeline/periods.py",
    "collector/pipeline/prepare.py",
    "collector/pipeline/recent.py",
    "collector/pipeline/steps.py",
    "collector/pipeline/story.py",
    "collector/pipeline/times.py",
    "collector/pipeline/values.py",
    "collector/store/rows.py",
    "connectors/files/json_lines.py",
]
"""None may define a `msgspec.Struct`: mypyc leaves out its keywords, such as `frozen=True`, and the types of its fields."""

SHARED = "tieout"
"""Names the library that holds them all; each module's own file only points into it."""


def built() -> list[Path]:
    """List what is compiled."""
    folders = {ROOT, *((ROOT / module).parent for module in MODULES)}
    return sorted(path for folder in folders for path in folder.glob("*.so"))


def is_current() -> bool:
    """Tell whether everything is compiled, and nothing has changed since."""
    ending = sysconfig.get_config_var("EXT_SUFFIX")
    wanted = {(ROOT / module).with_suffix(ending) for module in MODULES}
    wanted.add(ROOT / f"{SHARED}__mypyc{ending}")
    sources = [Path(__file__), ROOT / "requirements.lock", *(ROOT / module for module in MODULES)]
    if wanted != set(built()):
        return False
    return max(p.stat().st_mtime for p in sources) < min(p.stat().st_mtime for p in wanted)


def lack() -> str:
    """Say what compiling needs and is not here; empty where nothing is."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"the C compiler {compiler} (on Debian: apt-get install gcc libc6-dev)"
    header = Path(sysconfig.get_path("include"), "Python.h")
    return "" if header.exists() else f"{header} (on Debian: apt-get install python3-dev)"


def install() -> None:
    """Install what compiling needs, where that is possible."""
    if os.geteuid() == 0 and shutil.which("apt-get"):
        print("Installing a C compiler and Python's headers", flush=True)
        wanted = ["--no-install-recommends", "gcc", "libc6-dev", "python3-dev"]
        for words in (["update"], ["install", "-y", *wanted]):
            subprocess.run(["apt-get", "-qq", *words], check=False)  # noqa: S603, S607 -- Debian's own


def remove() -> None:
    """Remove what is compiled."""
    for path in built():
        path.unlink()


def build() -> None:
    """Compile the modules.

    Raises:
        SystemExit: mypy, or the compiler, refuses them; it has said why.
    """
    from mypyc.build import mypycify  # noqa: PLC0415 -- it takes a second to load
    from setuptools import Distribution  # noqa: PLC0415 -- likewise

    os.chdir(ROOT)
    remove()
    work = str(ROOT / "build/mypyc")
    options = {"group_name": SHARED, "opt_level": "2", "debug_level": "0", "target_dir": work}
    modules = mypycify([*MODULES], **options)
    command = Distribution({"name": SHARED, "ext_modules": modules}).get_command_obj("build_ext")
    command.inplace, command.parallel, command.build_temp = True, os.cpu_count(), work
    command.ensure_finalized()
    command.run()
    for path in built():
        path.touch()  # one that need not be built again keeps the time of its source


class CompiledHook(BuildHookInterface[Any]):
    """Compiles what a wheel is to carry."""

    @override
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and have the wheel carry it, for this Python on this kind of machine."""
        if missing := lack():
            raise SystemExit(f"Tieout cannot be compiled without {missing}.")
        if not is_current():
            build()
        build_data["pure_python"], build_data["infer_tag"] = False, True
        build_data["force_include"] |= {str(p): str(p.relative_to(ROOT)) for p in built()}


def main() -> None:
    """Do what the command line asks for."""
    if sys.argv[1:] == ["--remove"]:
        remove()
        return
    if lack():
        install()
    if missing := lack():
        remove()
        print(f"Not compiled, for want of {missing}: everything works, at less speed.")
    elif not is_current():
        print("Compiling what every record passes through (half a minute)", flush=True)
        build()


if __name__ == "__main__":
    main()
