"""Uploads an image that a driver gives as proof, over HTTP."""

import ssl
from collections.abc import Sequence

from mallard_client.http.transport import AsyncShell
from mallard_protocol.resources import UploadedProof

_UPLOAD_WITHIN_S = 60.0


class ProofUpload(AsyncShell):
    """One upload; an async context manager. `urls`: the engine's addresses for sockets."""

    def __init__(self, urls: Sequence[str], token: str, tls: ssl.SSLContext | None) -> None:
        super().__init__([http_url(url) for url in urls], token, tls=tls or True)

    async def send(self, image: bytes) -> str:
        """Upload an image and return its id; see `DriverClient.upload_proof`."""
        answer = await self._run(
            self._caller.call(
                "POST",
                "/v1/driver/proofs",
                UploadedProof,
                content=image,
                longer_s=_UPLOAD_WITHIN_S,
            )
        )
        return answer.proof


def http_url(url: str) -> str:
    """Return the address for HTTP of an engine that is named by its address for sockets."""
    scheme, separator, rest = url.partition("://")
    scheme = {"ws": "http", "wss": "https"}.get(scheme, scheme)
    return f"{scheme}{separator}{rest}"
