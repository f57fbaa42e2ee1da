"""The code that a driver shows at the counter, by which the shop recognises the job's driver.

It follows from a random key of the job and from the attempt: each holder has a code of its own, and
nothing is stored when a job changes hands. `lib/handover.lua` computes the same.
"""

import hashlib

_DIGITS = 6


def handover_code(key: str, attempt: int) -> str:
    """Return the code of an attempt: six digits; empty without a key."""
    if not key:
        return ""
    digest = hashlib.sha1(f"{key}/{attempt}".encode(), usedforsecurity=False).hexdigest()
    return f"{int(digest[:8], 16) % 10**_DIGITS:0{_DIGITS}}"
