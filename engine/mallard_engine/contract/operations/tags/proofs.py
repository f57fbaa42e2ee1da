"""Operations on the images that drivers give as proof."""

from typing import Final

from mallard_engine.contract.operations.operation import Operation, Parameter
from mallard_engine.contract.operations.shapes import DRIVER, ORDERS
from mallard_protocol import resources
from mallard_protocol.codes import PROOF_MEDIA_TYPES, ProblemCode

P = ProblemCode

PROOFS: Final = (
    Operation(
        name="uploadProof",
        method="post",
        path="/v1/driver/proofs",
        summary="Upload a photo or signature of up to 2 MiB; its bytes determine the type",
        tag="Proofs",
        roles=DRIVER,
        media_types=PROOF_MEDIA_TYPES,
        status=201,
        answer=resources.UploadedProof,
        problems=(P.QUOTA_EXCEEDED,),
    ),
    Operation(
        name="listProofs",
        method="get",
        path="/v1/jobs/{id}/proofs",
        summary="List the proofs of a job, with links to their images that hold for 15 min",
        tag="Proofs",
        roles=ORDERS,
        answer=resources.JobProofList,
        problems=(P.NOT_FOUND,),
    ),
    Operation(
        name="downloadProof",
        method="get",
        path="/v1/proofs/{proof}",
        summary="Download an image by its link",
        tag="Proofs",
        parameters=(
            Parameter(
                "expires",
                "Until when the link holds, in epoch seconds",
                {"type": "integer"},
                required=True,
            ),
            Parameter("signature", "What signs it", {"type": "string"}, required=True),
        ),
        answer="image/*",
        headers=(("Content-Disposition", "`attachment`, with a file name"),),
        problems=(P.BAD_REQUEST, P.FORBIDDEN, P.NOT_FOUND),
    ),
)
