"""What the audit log keeps of a call that an operator made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """One call of an operator.

    Attributes:
        id: Its id.
        at_ms: When it came.
        actor: The operator.
        operation: The operation's name in the contract.
        method: The HTTP method.
        path: The path.
        market: The market that it names; empty: none.
        status: The status of its answer; 0: unknown.
        code: The code of the problem that it was answered with; empty: it succeeded.
        body: Its body as JSON; empty: not kept.
    """

    id: str
    at_ms: int
    actor: str
    operation: str
    method: str
    path: str
    market: str = ""
    status: int = 0
    code: str = ""
    body: str = ""
