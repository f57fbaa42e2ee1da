"""Images as proof: drivers upload them, order services and operators read them by signed links."""

import asyncio
import re
from collections.abc import Mapping
from typing import Final

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from mallard_engine.core.model import GivenProof, Job, UploadedImage
from mallard_engine.gateway.auth.tokens import Principal, WrongScope
from mallard_engine.gateway.http.endpoints.jobs.access import job_of
from mallard_engine.gateway.http.parameters import bad_request, check_query
from mallard_engine.gateway.http.problems import HttpProblem, not_found
from mallard_engine.gateway.http.rate_limits import slot_of
from mallard_engine.gateway.http.request_parsing import JsonResponse, read_image, too_slow
from mallard_engine.gateway.http.routing import Handler, PublicHandler
from mallard_engine.gateway.limits.connections import allow_slow_body
from mallard_engine.gateway.limits.large_bodies import GaveWay, NoSlot
from mallard_engine.gateway.proofs.image import BadImage, NotAnImage
from mallard_engine.gateway.proofs.image_store import ImageStore
from mallard_engine.gateway.proofs.links import expiry_of, is_signed, market_of_proof, signature
from mallard_engine.gateway.services import Services
from mallard_engine.gateway.timestamps import Moment
from mallard_engine.ports import TooManyImages
from mallard_protocol.codes import MOST_UNUSED_PROOFS, PROOF_MEDIA_TYPES, ProblemCode
from mallard_protocol.resources import FieldError, JobProof, JobProofList, UploadedProof

# A phone with a bad network; one that sends hardly anything is disconnected earlier.
_READ_WITHIN_S: Final = 60.0
_EPOCH_S: Final = re.compile(r"[0-9]{1,12}")
_NAMES: Final = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
_FILE_HEADERS: Final = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}


class ProofsApi:
    """Handlers of proofs.

    Args:
        services: the parts of the node.
        images: the images.
        public_url: what links start with.
    """

    def __init__(self, services: Services, images: ImageStore, public_url: str) -> None:
        self._services = services
        self._proofs = services.store.proofs
        self._images = images
        self._public_url = public_url

    def handlers(self) -> dict[str, Handler]:
        """Return the handlers by the operation's name."""
        return {"uploadProof": self.upload, "listProofs": self.page}

    def public_handlers(self) -> dict[str, PublicHandler]:
        """Return the handlers of operations without a token."""
        return {"downloadProof": self.download}

    async def upload(self, request: Request, principal: Principal) -> Response:
        """Store an image of the driver."""
        market = principal.market
        if market is None or market not in self._services.places.markets:
            raise WrongScope("the token's market is not served here")
        if slot := slot_of(request):
            slot.release()  # a slow phone must not keep others waiting
        allow_slow_body(request.scope, _READ_WITHIN_S)
        try:
            async with self._images.upload(market, principal.sub) as body:
                async with asyncio.timeout(_READ_WITHIN_S), body.reading():
                    data = await read_image(request)
                proof = await self._images.take(market, principal.sub, data)
        except TimeoutError:
            raise bad_request(f"the body took over {_READ_WITHIN_S:.0f} s") from None
        except NotAnImage:
            accepted = ", ".join(PROOF_MEDIA_TYPES)
            raise HttpProblem(ProblemCode.UNSUPPORTED_MEDIA_TYPE, f"send {accepted}") from None
        except BadImage as error:
            raise HttpProblem(
                ProblemCode.INVALID_FIELDS, str(error), errors=[FieldError("", str(error))]
            ) from None
        except TooManyImages:
            detail = f"{MOST_UNUSED_PROOFS} images that no report has named"
            raise HttpProblem(ProblemCode.QUOTA_EXCEEDED, detail) from None
        except NoSlot:
            raise HttpProblem(ProblemCode.RATE_LIMITED, "too many uploads at once") from None
        except GaveWay:
            raise too_slow() from None
        return JsonResponse(UploadedProof(proof))

    async def page(self, request: Request, principal: Principal) -> Response:
        """List the proofs of a job."""
        job = await job_of(request, principal, self._services.store)
        named = [it.value for it in job.proofs if it.value and it.kind in {"photo", "signature"}]
        images = await self._proofs.images(job.market, named)
        key = await self._proofs.link_key(job.market) if images else b""
        expires = expiry_of(self._services.store.now_ms())
        items = tuple(self._shown(it, images, key, expires, job) for it in job.proofs)
        return JsonResponse(JobProofList(items))

    async def download(self, request: Request) -> Response:
        """Return the file of a signed link."""
        check_query(request, frozenset({"expires", "signature"}))
        proof, given = request.path_params["proof"], request.query_params.get("signature", "")
        market = market_of_proof(proof)
        if market is None or market not in self._services.places.markets:
            raise not_found("proof")
        expires = _expiry(request)
        key = await self._proofs.link_key(market)
        if not is_signed(key, proof, expires, given):
            raise HttpProblem(ProblemCode.FORBIDDEN, "this link is not one of ours")
        if expires * 1000 <= self._services.store.now_ms():
            raise HttpProblem(ProblemCode.FORBIDDEN, "this link has expired: list the proofs again")
        image = (await self._proofs.images(market, [proof])).get(proof)
        data = await self._images.read(market, proof) if image else None
        if image is None or data is None:
            raise not_found("proof")
        name = f"{proof}.{_NAMES.get(image.media_type, 'bin')}"
        headers = {**_FILE_HEADERS, "Content-Disposition": f'attachment; filename="{name}"'}
        return Response(data, headers=headers, media_type=image.media_type)

    def _shown(
        self,
        proof: GivenProof,
        images: Mapping[str, UploadedImage],
        key: bytes,
        expires: int,
        job: Job,
    ) -> JobProof:
        image = images.get(proof.value)
        reported = UNSET if proof.reported_ms is None else Moment.at_ms(proof.reported_ms)
        at = Moment.at_ms(proof.at_ms)
        if image is None or image.job != job.id:
            return JobProof(proof.kind, proof.step, at, reported)
        query = f"expires={expires}&signature={signature(key, proof.value, expires)}"
        return JobProof(
            proof.kind,
            proof.step,
            at,
            reported,
            proof=proof.value,
            media_type=image.media_type,
            bytes=image.size,
            url=f"{self._public_url}/v1/proofs/{proof.value}?{query}",
            url_expires_at=Moment.at_ms(expires * 1000),
        )


def _expiry(request: Request) -> int:
    text = request.query_params.get("expires", "")
    if not _EPOCH_S.fullmatch(text):
        raise bad_request("expires is a time in epoch seconds")
    return int(text)
