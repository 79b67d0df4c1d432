"""Bytecode of a tree, the same at every build.

In: a folder of sources. Out: `__pycache__` beside each. Always holds: no path of this machine is
in it; a pyc is bound to its source by hash and never checked again, so file times do not matter.

`python -m deploy.image.bytecode FOLDER`, with PYTHONHASHSEED=0: constant sets are written in the
order in which they are hashed.
"""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path


def compile_tree(root: Path) -> int:
    """How many were compiled; in sorted order, in this one process."""
    count = 0
    for source in sorted(root.rglob("*.py")):
        py_compile.compile(
            str(source), dfile=str(source.relative_to(root)), doraise=True, quiet=1,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )  # fmt: skip
        count += 1
    return count


if __name__ == "__main__":
    print(compile_tree(Path(sys.argv[1])))
