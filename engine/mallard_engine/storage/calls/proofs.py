"""The port `Proofs` on Redis: the images that drivers upload, and which of them are to be removed.

The files are elsewhere. A record comes before its file and goes before it: no file is without a
record or an entry of ``gone_proofs``.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from mallard_engine.core.model import UploadedImage
from mallard_engine.ports import Proofs, TooManyImages
from mallard_engine.storage.calls.script_runner import ScriptRunner
from mallard_protocol.codes import MOST_UNUSED_PROOFS, UNUSED_PROOF_KEPT_MS

_read_image: Final = msgspec.msgpack.Decoder(UploadedImage).decode
_GONE_AT_ONCE: Final = 100
_KEY_BYTES: Final = 32


class RedisProofs(Proofs):
    """Images on Redis."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def add(
        self, market: str, driver: str, proof: str, *, media_type: str, size: int
    ) -> None:
        keys = self._runner.keys[market]
        args = {
            "driver": driver,
            "proof": proof,
            "media_type": media_type,
            "size": size,
            "kept_ms": UNUSED_PROOF_KEPT_MS,
            "most": MOST_UNUSED_PROOFS,
        }
        names = [keys.key("proofs"), keys.key("unused_proofs"), keys.key("forget")]
        if not await self._runner.run("proof_add", names, args):
            raise TooManyImages

    async def images(self, market: str, proofs: Sequence[str]) -> Mapping[str, UploadedImage]:
        if not proofs:
            return {}
        key = self._runner.keys[market].key("proofs")
        found = await self._runner.link.call("HMGET", key, *proofs)
        return {
            proof: _read_image(packed)
            for proof, packed in zip(proofs, found, strict=True)
            if packed is not None
        }

    async def discard(self, market: str, proofs: Sequence[str]) -> None:
        await self._drop(market, proofs, "")

    async def erase(self, job: str) -> None:
        await self._drop(self._runner.keys_of(job).market, (), job)

    async def _drop(self, market: str, proofs: Sequence[str], job: str) -> None:
        keys = self._runner.keys[market]
        names = [keys.key(name) for name in ("proofs", "unused_proofs", "gone_proofs")]
        args = {"proofs": list(proofs), "job": job}
        await self._runner.run("proof_drop", [*names, keys.job(job)], args)

    async def gone(self, market: str) -> Sequence[str]:
        key = self._runner.keys[market].key("gone_proofs")
        found = await self._runner.link.call("SRANDMEMBER", key, _GONE_AT_ONCE)
        return [proof.decode() for proof in found]

    async def removed(self, market: str, proofs: Sequence[str]) -> None:
        if proofs:
            key = self._runner.keys[market].key("gone_proofs")
            await self._runner.link.call("SREM", key, *proofs)

    async def link_key(self, market: str) -> bytes:
        call, key = self._runner.link.call, self._runner.keys[market].key("link_key")
        await call("SET", key, secrets.token_bytes(_KEY_BYTES), "NX")
        found: bytes = await call("GET", key)
        return found
