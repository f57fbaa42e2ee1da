"""What can go wrong between the engine and its store, below the domain's verbs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mallard_engine.ports import StoreFull, StoreUnavailable


class StoreTimeout(StoreUnavailable):
    """A call was sent and not answered within its deadline: the outcome is unknown."""


class LinkReplyError(Exception):
    """The store answered with an error; `code` is its first word, such as `NOSCRIPT`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


@dataclass(frozen=True, slots=True)
class Condition:
    """What an error code says of the store's condition, as opposed to the call.

    `meaning` completes "the store …". The call had no effect, and the same call may succeed
    later. `unready`: the store cannot be written at all, so the node is not ready; else only some
    calls are refused. `hang_up`: the connection leads to the wrong server, or its login is no
    longer good, so a new connection must be made. Over HTTP every condition is answered with 503
    and Retry-After: `store_full` when `full`, else `store_unavailable`.
    """

    meaning: str
    unready: bool = True
    hang_up: bool = False
    full: bool = False


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
        "READONLY": Condition("is a replica and refuses writes", hang_up=True),
        "TRYAGAIN": Condition("is moving slots", unready=False),
        "WRONGPASS": Condition("does not accept this user and password", hang_up=True),
    }
)
# An error without a code of its own that speaks of the store's condition all the same.
_TOO_MANY_CLIENTS = "ERR max number of clients reached"


class StoreNotReady(LinkReplyError, StoreUnavailable):
    """The store answered that it cannot do this now; `condition` says what that means."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.condition = CONDITIONS.get(self.code, Condition("has no room for a connection"))


class StoreOutOfMemory(LinkReplyError, StoreFull):
    """The store answered that it is full."""


def reply_error(message: str) -> LinkReplyError:
    """Return the exception for the text of an error reply."""
    condition = CONDITIONS.get(message.partition(" ")[0])
    if condition is None and not message.startswith(_TOO_MANY_CLIENTS):
        return LinkReplyError(message)
    return StoreOutOfMemory(message) if condition and condition.full else StoreNotReady(message)


class EmbeddedServerError(Exception):
    """The embedded server did not start, or ended at once; the message tells its last words."""


class DataFolderInUse(EmbeddedServerError):
    """Another process keeps its embedded server in this data folder."""
