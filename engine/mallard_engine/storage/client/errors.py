"""Errors of the connection to Redis, and what an error code says of the server's condition."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mallard_engine.ports import StoreFull, StoreUnavailable


class StoreTimeout(StoreUnavailable):
    """A call was sent and not answered within its deadline: the outcome is unknown."""


class LinkReplyError(Exception):
    """Redis answered with an error; `code` is its first word, such as `NOSCRIPT`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Condition:
    """What an error code says of Redis's condition, as opposed to the call.

    The call had no effect, and the same call may succeed later. Over HTTP every condition is
    answered with 503 and Retry-After: `store_full` if `full`, else `store_unavailable`.

    Attributes:
        meaning: Completes "the store …" in messages.
        unready: Redis accepts no writes at all, so the node is not ready; else it refuses only
            some calls.
        hang_up: The connection must be replaced: it leads to the wrong server, or its login has
            become invalid.
        full: Redis is out of memory.
        elsewhere: Another server has taken over and may take the call.
    """

    meaning: str
    unready: bool = True
    hang_up: bool = False
    full: bool = False
    elsewhere: bool = False


CONDITIONS: Mapping[str, Condition] = MappingProxyType(
    {
        "ASK": Condition("is a cluster, which needs a redis+cluster:// URL"),
        "BUSY": Condition("is blocked by a script"),
        "CLUSTERDOWN": Condition("is a cluster with slots that no node serves"),
        "DENIED": Condition("accepts no connection from this machine", hang_up=True),
        "LOADING": Condition("is loading its data"),
        "MASTERDOWN": Condition("is a replica that has lost its master", hang_up=True),
        "MISCONF": Condition("refuses writes because it cannot save to its disk"),
        "MOVED": Condition("is a cluster, which needs a redis+cluster:// URL"),
        "NOAUTH": Condition("wants a user and password", hang_up=True),
        "NOPERM": Condition("does not permit this user a command or key"),
        "NOREPLICAS": Condition("refuses writes because too few replicas are connected"),
        "OOM": Condition("is full", unready=False, full=True),
        "READONLY": Condition("is a replica and refuses writes", hang_up=True, elsewhere=True),
        "TRYAGAIN": Condition("is moving slots", unready=False),
        "UNBLOCKED": Condition("has become a replica", hang_up=True, elsewhere=True),
        "WRONGPASS": Condition("does not accept this user and password", hang_up=True),
    }
)
# An error that has no code of its own but is about Redis's condition.
_TOO_MANY_CLIENTS = "ERR max number of clients reached"
# A script, which the user may run, contains a command or key that it may not use. What the script
# wrote before stays. Redis 7.0 and later releases word it differently.
_FORBIDDEN_IN_SCRIPT = (
    "ERR The user executing the script can't ",
    "ERR ACL failure in script: ",
)


class StoreNotReady(LinkReplyError, StoreUnavailable):
    """Redis refused the call because of its condition, which `condition` describes."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.condition = CONDITIONS.get(self.code, Condition("has no room for a connection"))


class StoreOutOfMemory(LinkReplyError, StoreFull):
    """Redis refused the call because it is out of memory."""


def reply_error(message: str) -> LinkReplyError:
    """Return the exception for the text of an error reply."""
    if message.startswith(_FORBIDDEN_IN_SCRIPT):
        message = f"NOPERM {message.removeprefix('ERR ')}"
    condition = CONDITIONS.get(message.partition(" ")[0])
    if condition is None and not message.startswith(_TOO_MANY_CLIENTS):
        return LinkReplyError(message)
    return StoreOutOfMemory(message) if condition and condition.full else StoreNotReady(message)


class EmbeddedServerError(Exception):
    """The embedded server did not start, or ended at once; the message ends with its log."""


class DataFolderInUse(EmbeddedServerError):
    """Another process runs its embedded server in this data folder."""
