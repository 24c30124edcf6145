"""Equal pictures are held once: a thousand jobs of a campaign may each bring their own copy of one."""

from __future__ import annotations

from weakref import WeakValueDictionary

from worker.core.picture import Picture


class Pictures:
    """The pictures that somebody holds at present, by their hash. It keeps none alive by itself."""

    def __init__(self) -> None:
        self._by_hash: WeakValueDictionary[bytes, Picture] = WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._by_hash)

    def one_of(self, picture: Picture) -> Picture:
        """The picture that is held already, if an equal one is; else ``picture``, from now on."""
        return self._by_hash.setdefault(picture.digest, picture)
