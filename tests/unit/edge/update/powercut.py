"""A disk in memory that forgets, at a power cut, what was not synced.

`cut_at` ends the n-th call with `PowerCut`, before or after it took effect. What survives of
unsynced names and contents is drawn at random, as a file system may have written any of it; a
folder that was moved or removed is so once the folder above it is synced.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from edge.update.disk import PosixDisk


class PowerCut(BaseException):
    """The computer is off. A BaseException, so that nothing aboard can catch it by habit."""


class CutDisk:
    """Names map to contents; names and contents are each durable or not yet."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.names: dict[Path, bytes] = {}
        self.durable: dict[Path, bytes] = {}
        self.calls = 0
        self.cut_at = -1
        self._unsynced: list[tuple[Path, Callable[[], None]]] = []
        """What became of folders, by the folder above: a move or a removal."""
        self._outside = PosixDisk()

    def read(self, path: Path, bytes_max: int) -> bytes | None:
        if path in self.names:
            return self.names[path]
        return self._outside.read(path, bytes_max) if path.suffix == ".fetched" else None

    def write(self, path: Path, data: bytes) -> None:
        def torn() -> None:
            self.names[path] = data[: self._draw.randrange(len(data) + 1)]

        self._step(lambda: self.names.__setitem__(path, data), torn)

    def rename(self, old: Path, new: Path) -> None:
        def effect() -> None:
            if old in self.names:
                self.names[new] = self.names.pop(old)
                return
            _move(self.names, old, new)
            self._unsynced.append((new.parent, lambda: _move(self.durable, old, new)))

        self._step(effect)

    def sync_folder(self, path: Path) -> None:
        def effect() -> None:
            for _, change in [x for x in self._unsynced if x[0] == path]:
                change()
            self._unsynced = [x for x in self._unsynced if x[0] != path]
            for name in [n for n in self.durable if n.parent == path and n not in self.names]:
                del self.durable[name]
            self.durable |= {n: d for n, d in self.names.items() if n.parent == path}

        self._step(effect)

    def make_folder(self, path: Path) -> None:
        self._step(lambda: None)

    def remove_tree(self, path: Path) -> None:
        def effect() -> None:
            _remove(self.names, path)
            gone = {n: d for n, d in self.durable.items() if path in n.parents}

            def forget() -> None:  # but what was written there anew and synced since
                for name, data in gone.items():
                    if self.durable.get(name) is data:
                        del self.durable[name]

            self._unsynced.append((path.parent, forget))

        def torn() -> None:
            for name in [n for n in self.names if path in n.parents]:
                if self._draw.random() < 0.5:
                    del self.names[name]

        self._step(effect, torn)

    def power_cut(self) -> None:
        """What is left: the durable names, and any mixture of the others."""
        for _, change in self._unsynced:
            if self._draw.random() < 0.5:
                change()
        self._unsynced = []
        left = dict(self.durable)
        for name in {*self.names, *self.durable}:
            if self.names.get(name) != self.durable.get(name) and self._draw.random() < 0.5:
                if name in self.names:
                    left[name] = self.names[name]
                else:
                    left.pop(name, None)
        self.names, self.durable, self.cut_at = left, dict(left), -1

    def _step(self, effect: object, torn: object = None) -> None:
        self.calls += 1
        if self.calls == self.cut_at:
            chance = self._draw.random()
            if chance < 0.5 and callable(effect):
                effect()
            elif chance < 0.75 and callable(torn):
                torn()
            raise PowerCut
        assert callable(effect)
        effect()


def _move(names: dict[Path, bytes], old: Path, new: Path) -> None:
    for name in [n for n in names if old in n.parents]:
        names[new / name.relative_to(old)] = names.pop(name)


def _remove(names: dict[Path, bytes], folder: Path) -> None:
    for name in [n for n in names if folder in n.parents]:
        del names[name]
