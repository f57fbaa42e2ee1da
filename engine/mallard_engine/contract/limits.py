"""The limits of the socket and of the HTTP API, as the documents list them."""

from typing import Any, Final

from mallard_engine.contract.webhooks import (
    ANSWER_WITHIN_S,
    GIVE_UP_S,
    MAX_WAITING,
    MAX_WEBHOOKS,
    ROTATION_S,
)
from mallard_protocol.changes import MAX_BATCH_BYTES, MAX_ITEMS
from mallard_protocol.codes import (
    ANSWER_KEPT_MS,
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    FUTURE_FIX_MS,
    HELLO_WITHIN_S,
    IDEMPOTENCY_KEPT_MS,
    LOCATION_MS,
    MAX_BODY_BYTES,
    MAX_CONTAINERS,
    MAX_DEPTH,
    MAX_FRAME_BYTES,
    MAX_OPEN_JOBS,
    MAX_PAGE,
    MAX_PROOF_BYTES,
    MAX_STORED_BYTES,
    MAX_WAIT_S,
    MOST_DELIVERY_ATTEMPTS,
    MOST_UNUSED_PROOFS,
    PING_MS,
    PROOF_LINK_KEPT_S,
    RATE_BURST_BYTES,
    RATE_BYTES_PER_S,
    RATE_FRAMES_PER_S,
    RATE_WINDOW_S,
    STORE_DOWN_CLOSE_S,
    TERMINAL_KEPT_MS,
    TRACKED_AFTER_END_MS,
    UNUSED_PROOF_KEPT_MS,
)
from mallard_protocol.events import EVENTS_KEPT_MS, HEARTBEAT_S, MAX_STREAMS, MOVED_EVERY_S
from mallard_protocol.messages import MAX_FIXES
from mallard_protocol.resources import MAX_STORES

# Name, value and meaning of each limit.
Limits = tuple[tuple[str, float, str], ...]
SOCKET_LIMITS: Final[Limits] = (
    ("max_bytes", MAX_FRAME_BYTES, "a client's frame; a larger one closes the socket"),
    ("max_depth", MAX_DEPTH, "nesting depth of maps and arrays in a client's frame"),
    ("max_containers", MAX_CONTAINERS, "number of maps and arrays in a client's frame"),
    ("max_fixes", MAX_FIXES, "position fixes in one `location`"),
    ("future_fix_ms", FUTURE_FIX_MS, "how far a fix may lie in the future"),
    ("hello_within_s", HELLO_WITHIN_S, "time until the first frame"),
    (
        "ping_ms",
        PING_MS,
        "time between two pings; a socket without a frame for twice that is closed",
    ),
    ("location_ms", LOCATION_MS, "how often the server would like positions"),
    ("rate_frames_per_s", RATE_FRAMES_PER_S, "frames a second"),
    ("rate_window_s", RATE_WINDOW_S, "the number of seconds whose frames may come at once"),
    ("rate_bytes_per_s", RATE_BYTES_PER_S, "bytes of frames a second"),
    ("rate_burst_bytes", RATE_BURST_BYTES, "bytes of frames that may come at once"),
    ("answer_kept_ms", ANSWER_KEPT_MS, "how long a repeated request gets its first answer"),
    (
        "store_down_close_s",
        STORE_DOWN_CLOSE_S,
        "how long sockets stay open while Redis is away",
    ),
    ("backoff_first_s", BACKOFF_FIRST_S, "first full-jitter wait before connecting again"),
    ("backoff_max_s", BACKOFF_MAX_S, "longest such wait"),
)
HTTP_LIMITS: Final[Limits] = (
    ("max_body_bytes", MAX_BODY_BYTES, "a request's body"),
    ("max_batch_bytes", MAX_BATCH_BYTES, "the body of a batch; each job has `max_body_bytes`"),
    ("max_items", MAX_ITEMS, "jobs of a batch, or of a list of cancellations"),
    ("max_proof_bytes", MAX_PROOF_BYTES, "an uploaded image"),
    ("unused_proofs", MOST_UNUSED_PROOFS, "a driver's images that no report has named"),
    ("unused_proof_kept_ms", UNUSED_PROOF_KEPT_MS, "how long such an image is kept"),
    ("proof_link_kept_s", PROOF_LINK_KEPT_S, "how long a link to an image is valid"),
    (
        "tracked_after_end_ms",
        TRACKED_AFTER_END_MS,
        "how long a `tracking_url` is valid after the job's end",
    ),
    (
        "delivery_attempts",
        MOST_DELIVERY_ATTEMPTS,
        "attempts at a delivery after which the parcels go back",
    ),
    ("max_wait_s", MAX_WAIT_S, "`wait_s`"),
    ("max_page", MAX_PAGE, "`limit` of a list"),
    ("max_stores", MAX_STORES, "stores of a job"),
    ("idempotency_kept_ms", IDEMPOTENCY_KEPT_MS, "how long an idempotency key is remembered"),
    ("terminal_kept_ms", TERMINAL_KEPT_MS, "how long a job that has ended can be read"),
    ("events_kept_ms", EVENTS_KEPT_MS, "how long a stream can resume after an event"),
    ("event_comment_s", HEARTBEAT_S, "time between two comments of an event stream"),
    ("webhooks", MAX_WEBHOOKS, "endpoints of webhooks of a service or an operator"),
    ("webhook_waiting", MAX_WAITING, "waiting deliveries that disable an endpoint"),
    ("webhook_answer_s", ANSWER_WITHIN_S, "how long an endpoint may take to answer with 2xx"),
    ("webhook_give_up_s", GIVE_UP_S, "how long a failed delivery is repeated"),
    ("webhook_rotation_s", ROTATION_S, "how long the secret before a rotation still signs"),
    ("event_streams", MAX_STREAMS, "open event streams of a token at a node"),
    ("driver_moved_s", MOVED_EVERY_S, "least time between two `job.driver_moved` of a job"),
    ("service_open_jobs", MAX_OPEN_JOBS, "open jobs of a service in a market; by default"),
    (
        "service_stored_bytes",
        MAX_STORED_BYTES,
        "bytes of a service's jobs of the last `terminal_kept_ms` in a market; by default",
    ),
)


def as_object(limits: Limits) -> dict[str, Any]:
    """Return limits as an object of a document, by name."""
    return {name: {"value": value, "meaning": meaning} for name, value, meaning in limits}
