"""Takes, serves and removes the images of proofs: their records in Redis, their files elsewhere.

Decoding and files block, so they run in threads of their own, few at a time: a flood of uploads
waits there, and the event loop keeps serving other requests.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, TypeVar

import structlog

from mallard_engine.gateway.limits.large_bodies import BodySlot, LargeBodies
from mallard_engine.gateway.proofs.files import ProofFiles
from mallard_engine.gateway.proofs.image import clean
from mallard_engine.gateway.proofs.links import new_proof_id
from mallard_engine.ports import Proofs, StoreUnavailable

_T = TypeVar("_T")
_log = structlog.get_logger(__name__)
# A decoded image takes up to 75 MB, and as much again while it is encoded.
_DECODERS: Final = 2
_FILE_THREADS: Final = 4
# Uploads that are read or wait, of a node and of one driver: 2 MiB each.
_MOST_UPLOADS: Final = 64
_MOST_UPLOADS_OF_ONE: Final = 4
_REMOVE_EVERY_S: Final = 60.0


class ImageStore:
    """The images of a node.

    Args:
        proofs: their records.
        files: their files.
    """

    def __init__(self, proofs: Proofs, files: ProofFiles) -> None:
        self._proofs = proofs
        self._files = files
        self._decoders = ThreadPoolExecutor(_DECODERS, "decode")
        self._threads = ThreadPoolExecutor(_FILE_THREADS, "proofs")
        self._uploads = LargeBodies(_MOST_UPLOADS_OF_ONE, _MOST_UPLOADS)

    def upload(self, market: str, driver: str) -> AbstractAsyncContextManager[BodySlot]:
        """Count an upload within the context. Raises `NoSlot` at once."""
        return self._uploads.hold((market, driver), waits=False)

    async def take(self, market: str, driver: str, data: bytes) -> str:
        """Store an image and return its id.

        Raises:
            NotAnImage: the bytes are in no format that is taken.
            BadImage: it cannot be decoded, or is too large.
            TooManyImages: the driver has too many unused ones.
            StoreUnavailable: its record or its file cannot be stored.
        """
        image = await asyncio.get_running_loop().run_in_executor(self._decoders, clean, data)
        proof = new_proof_id(market)
        await self._proofs.add(
            market, driver, proof, media_type=image.media_type, size=len(image.data)
        )
        try:
            await self._on_files(
                partial(self._files.put, market, proof, image.data, image.media_type)
            )
        except BaseException:
            await self._proofs.discard(market, [proof])
            raise
        return proof

    async def read(self, market: str, proof: str) -> bytes | None:
        """Return the file of an image; None if there is none. Raises `StoreUnavailable`."""
        return await self._on_files(partial(self._files.get, market, proof))

    async def remove_gone(self, market: str) -> int:
        """Remove the files of some images that are gone, and return how many."""
        gone = await self._proofs.gone(market)
        for proof in gone:
            await self._on_files(partial(self._files.remove, market, proof))
        await self._proofs.removed(market, gone)
        return len(gone)

    async def keep_removing(
        self,
        markets: Callable[[], Awaitable[Sequence[str]]],
        every_s: float = _REMOVE_EVERY_S,
    ) -> None:
        """Remove files until cancelled. Several nodes may do so: it is repeatable.

        Args:
            markets: returns the markets in which images are gone.
            every_s: the interval.
        """
        while True:
            market = ""
            try:
                for market in await markets():
                    while await self.remove_gone(market):
                        pass
            except StoreUnavailable as error:
                _log.debug("proofs not removed yet", market=market, error=str(error))
            await asyncio.sleep(every_s)

    async def close(self) -> None:
        """End the threads once their work is done."""
        for threads in (self._decoders, self._threads):
            await asyncio.to_thread(threads.shutdown)

    async def _on_files(self, work: Callable[[], _T]) -> _T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except OSError as error:
            _log.error("the files of proofs cannot be used", error=str(error))
            raise StoreUnavailable(f"files of proofs: {error}") from error
