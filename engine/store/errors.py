"""What can go wrong between the engine and its store, below the domain's verbs."""

from engine.ports import StoreFull, StoreUnavailable


class StoreTimeout(StoreUnavailable):
    """A call was sent and not answered within its deadline: the outcome is unknown."""


class LinkReplyError(Exception):
    """The store answered with an error; `code` is its first word, such as `NOSCRIPT`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = message.partition(" ")[0]


class StoreNotReady(LinkReplyError, StoreUnavailable):
    """The store answered that it cannot do this now: it is loading, busy, failing over."""


class StoreOutOfMemory(LinkReplyError, StoreFull):
    """The store answered that it is full."""


# Error codes that speak of the store's condition and not of the call.
_CONDITIONS: dict[str, type[LinkReplyError]] = {
    "BUSY": StoreNotReady,
    "CLUSTERDOWN": StoreNotReady,
    "LOADING": StoreNotReady,
    "MASTERDOWN": StoreNotReady,
    "MISCONF": StoreNotReady,
    "NOREPLICAS": StoreNotReady,
    "READONLY": StoreNotReady,
    "TRYAGAIN": StoreNotReady,
    "OOM": StoreOutOfMemory,
}


def reply_error(message: str) -> LinkReplyError:
    """Return the exception for the text of an error reply."""
    return _CONDITIONS.get(message.partition(" ")[0], LinkReplyError)(message)


class EmbeddedServerError(Exception):
    """The embedded server did not start, or ended at once; the message tells its last words."""


class DataFolderInUse(EmbeddedServerError):
    """Another process keeps its embedded server in this data folder."""
