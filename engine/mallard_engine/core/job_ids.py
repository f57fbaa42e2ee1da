"""Job ids: `job_<market>.<ULID>`; within a market they sort by creation time.

The ULID (github.com/ulid/spec): 48 bits of epoch milliseconds, 80 random bits, in 26 characters of
Crockford's base 32.
"""

import re
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID: Final = re.compile(rf"[0-7][{_ALPHABET}]{{25}}")
_JOB: Final = re.compile(rf"job_[A-Za-z0-9_.:-]{{1,33}}\.{_ULID.pattern}")


def new_job_id(market: str, now_ms: int, random_bits: int) -> str:
    """Return an id that cannot be guessed, given 80 bits from a secure random source."""
    return f"job_{market}.{_ulid(now_ms, random_bits)}"


def first_ulid(at_ms: int) -> str:
    """Return the lowest ULID of a millisecond."""
    return _ulid(at_ms, 0)


def _ulid(at_ms: int, chance: int) -> str:
    number = (at_ms << 80) | chance
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_job_id(text: str) -> bool:
    """Whether the text has the form of a job's id."""
    return _JOB.fullmatch(text) is not None


def market_of_job(job: str) -> str | None:
    """Return the market that a job's id names; None if it names none. Does not check its ULID."""
    name, dot, _ = job.removeprefix("job_").rpartition(".")
    return name if dot and job.startswith("job_") else None


def market_in(name: str) -> str | None:
    """Return the market in an id of the form `<kind>_<market>.<rest>`; None if it names none."""
    _, score, rest = name.partition("_")
    market, dot, _ = rest.rpartition(".")
    return market if score and dot else None


def ulid_of_job(job: str) -> str:
    """Return the part of a job's id that sorts by time, whatever its market."""
    return job.rpartition(".")[2]


def is_ulid(text: str) -> bool:
    """Whether the text has the form of a ULID."""
    return _ULID.fullmatch(text) is not None
