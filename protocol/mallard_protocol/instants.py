"""The bounds of every time that is accepted: from 1970 up to 2100 in UTC.

Beyond them some calendar, clock or number type fails. For example year 10000 has no `datetime`, and
the conversion to UTC may change the year.
"""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta

EARLIEST_MS: Final = 0
# 2100-01-01T00:00:00Z, itself out of bounds.
LATEST_MS: Final = 4_102_444_800_000

# RFC 3339 with an offset, in JSON.
Instant = Annotated[datetime, Meta(tz=True)]
