"""Operations of order services on their jobs."""

from functools import partial
from typing import Final

from mallard_engine.contract.operations.operation import Operation, Parameter
from mallard_engine.contract.operations.shapes import (
    ETAG,
    ID,
    IDEMPOTENCY_KEY,
    IF_MATCH,
    IF_NONE_MATCH,
    JOB_MADE_HEADERS,
    JOB_MADE_PROBLEMS,
    MARKET,
    ORDERS,
    PAGE,
    WAIT,
    instant,
    query,
)
from mallard_protocol import changes, resources
from mallard_protocol.codes import ProblemCode
from mallard_protocol.lifecycle import JobState

P = ProblemCode
_STATES: Final = "|".join(JobState)
_operation = partial(Operation, tag="Jobs", roles=ORDERS)

JOBS: Final = (
    _operation(
        name="submitJob",
        method="post",
        path="/v1/jobs",
        summary="Submit a job. Waits for a match only if asked to",
        parameters=(IDEMPOTENCY_KEY, WAIT),
        body=resources.JobRequest,
        status=201,
        answer=resources.Job,
        headers=JOB_MADE_HEADERS,
        problems=(
            P.IDEMPOTENCY_KEY_MISSING,
            P.IDEMPOTENCY_KEY_INVALID,
            P.IDEMPOTENCY_MISMATCH,
            *JOB_MADE_PROBLEMS,
        ),
    ),
    _operation(
        name="submitJobs",
        method="post",
        path="/v1/jobs:batch",
        summary="Submit up to 100 jobs; each has its own key and result, as if it came alone",
        body=changes.BatchRequest,
        answer=changes.BatchResults,
    ),
    _operation(
        name="cancelJobs",
        method="post",
        path="/v1/jobs:cancel",
        summary="Cancel up to 100 jobs; each has its own result, as if it came alone",
        body=changes.CancelBatchRequest,
        answer=changes.CancelResults,
    ),
    _operation(
        name="listJobs",
        method="get",
        path="/v1/jobs",
        summary="List jobs, newest first",
        parameters=(
            MARKET,
            query(
                "state",
                "Only in one of these states, separated by commas",
                type="string",
                pattern=f"^({_STATES})(,({_STATES}))*$",
            ),
            Parameter("external_id", "Only with this external id", ID),
            instant("created_from", "Only created at this time or later"),
            instant("created_to", "Only created before this time"),
            instant(
                "updated_since", "Only changed at this time or later; a new `eta` is not a change"
            ),
            *PAGE,
        ),
        answer=resources.JobList,
    ),
    _operation(
        name="getJob",
        method="get",
        path="/v1/jobs/{id}",
        summary="Read a job",
        parameters=(WAIT, IF_NONE_MATCH),
        headers=ETAG,
        answer=resources.Job,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="changeJob",
        method="patch",
        path="/v1/jobs/{id}",
        summary="Change an order: all of the patch or nothing; null removes an optional field",
        parameters=(IF_MATCH,),
        body=changes.JobPatch,
        body_types=("application/merge-patch+json", "application/json"),
        answer=resources.Job,
        headers=ETAG,
        problems=(
            P.NOT_FOUND,
            P.WRONG_STATE,
            P.TOO_LATE,
            P.PRECONDITION_FAILED,
            P.MALL_CLOSED,
        ),
    ),
    _operation(
        name="eraseCustomer",
        method="delete",
        path="/v1/customers/{ref}",
        summary="Remove a customer's data from ended jobs; their figures stay",
        answer=changes.CustomerErased,
        problems=(P.NOT_FOUND,),
    ),
    _operation(
        name="cancelJob",
        method="post",
        path="/v1/jobs/{id}/cancel",
        summary="Cancel a job; parcels on board come back (202). A repeat gets the same answer",
        body=resources.CancelRequest,
        accepted=True,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.NOT_CANCELLABLE),
    ),
    _operation(
        name="markParcelsReady",
        method="post",
        path="/v1/jobs/{id}/ready",
        summary="Set when the parcels of a store are ready",
        body=resources.ReadyRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    _operation(
        name="answerProblem",
        method="post",
        path="/v1/jobs/{id}/problems/{problem}/answer",
        summary="Answer a problem that the driver has reported; the driver gets the answer",
        body=resources.AnswerRequest,
        answer=resources.Job,
        problems=(P.NOT_FOUND, P.WRONG_STATE),
    ),
    _operation(
        name="redeliverJob",
        method="post",
        path="/v1/jobs/{id}/redeliver",
        summary="Deliver the parcels of a returned job after all; a repeat gets the same job",
        body=resources.RedeliverRequest,
        status=201,
        answer=resources.Job,
        headers=JOB_MADE_HEADERS,
        problems=(
            P.NOT_FOUND,
            P.WRONG_STATE,
            *JOB_MADE_PROBLEMS,
        ),
    ),
    _operation(
        name="explainJob",
        method="get",
        path="/v1/jobs/{id}/explain",
        summary="Explain the match: the last round, and every driver who was asked",
        answer=resources.Explanation,
        problems=(P.NOT_FOUND,),
    ),
)
