"""The port of the images that drivers upload as proof."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from mallard_engine.core.model import UploadedImage


class Proofs(Protocol):
    """The images that drivers upload as proof: what is known of them, not their files."""

    async def add(
        self, market: str, driver: str, proof: str, *, media_type: str, size: int
    ) -> None:
        """Register an image before its file is written.

        Raises:
            TooManyImages: the driver has too many unused ones.
        """

    async def images(self, market: str, proofs: Sequence[str]) -> Mapping[str, UploadedImage]:
        """Return those of these images that are known, by id."""
        ...

    async def discard(self, market: str, proofs: Sequence[str]) -> None:
        """Drop images. Their files are removed afterwards."""

    async def erase(self, job: str) -> None:
        """Drop all images of a job. What remains of its proofs are kinds and times.

        Raises:
            NoSuchJob: the id is malformed, or names a market that is not configured.
        """

    async def gone(self, market: str) -> Sequence[str]:
        """Return some images whose files are to be removed."""
        ...

    async def removed(self, market: str, proofs: Sequence[str]) -> None:
        """Note that the files of these images have been removed."""

    async def link_key(self, market: str) -> bytes:
        """Return the key that signs the links of a market's images, the same on every node."""
        ...
