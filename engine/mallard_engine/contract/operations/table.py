"""The table of the HTTP API's operations, put together from the modules of the tags.

The OpenAPI document is generated from it, and the engine builds its routes, token checks, query
checks and rate limits from it.
"""

from typing import Final

from mallard_engine.contract.operations.tags.control import CONTROL
from mallard_engine.contract.operations.tags.documents import DOCUMENTS, SESSION
from mallard_engine.contract.operations.tags.drivers import DRIVERS
from mallard_engine.contract.operations.tags.events import EVENTS
from mallard_engine.contract.operations.tags.health import HEALTH
from mallard_engine.contract.operations.tags.jobs import JOBS
from mallard_engine.contract.operations.tags.markets import MARKETS
from mallard_engine.contract.operations.tags.operators import OPERATORS
from mallard_engine.contract.operations.tags.proofs import PROOFS
from mallard_engine.contract.operations.tags.quotes import QUOTES
from mallard_engine.contract.operations.tags.shops import SHOPS
from mallard_engine.contract.operations.tags.tracking import TRACKING
from mallard_engine.contract.operations.tags.webhooks import WEBHOOKS

# The groups of operations in the documents and in generated code.
TAGS: Final = (
    ("Jobs", "Submit jobs and follow them"),
    ("Tracking", "Where a job is, for its customer"),
    ("Quotes", "Whether a job would find a driver"),
    ("Events", "What happens in a market, as it happens"),
    ("Webhooks", "Have events posted to you"),
    ("Markets", "Where the engine serves"),
    ("Operators", "Manual control of a market's drivers and jobs"),
    ("Control", "How operators control a deployment"),
    ("Drivers", "Requests of a driver app besides its socket"),
    ("Proofs", "Photos and signatures that drivers give as proof"),
    ("Shops", "Requests of the counter of a shop"),
    ("Session", "How a page signs in"),
    ("Health", "Probes and metrics of a node"),
    ("Documents", "This contract"),
)

OPERATIONS: Final = (
    *JOBS,
    *EVENTS,
    *WEBHOOKS,
    *QUOTES,
    *TRACKING,
    *MARKETS,
    *OPERATORS,
    *CONTROL,
    *DRIVERS,
    *PROOFS,
    *SHOPS,
    *SESSION,
    *HEALTH,
    *DOCUMENTS,
)
