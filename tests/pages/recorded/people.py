"""What a driver, a shop and a customer see in a world that stands still, the same every time.

The answers are the contract's own structs. The driver's socket says one welcome, that of the state
which the token names, and hears whatever the page sends.
"""

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from zoneinfo import ZoneInfo

import jwt
import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from mallard_engine.gateway.http.request_parsing import JsonResponse, encode_json
from mallard_engine.gateway.pages.files import page_files
from mallard_engine.gateway.pages.routes import security_headers
from mallard_engine.gateway.pages.tracking import content_of
from mallard_protocol.codes import SUBPROTOCOL_MSGPACK
from mallard_protocol.counter import (
    PickupDriver,
    PickupEta,
    ShopPickup,
    ShopPickupList,
    ShopReturn,
    ShopReturnList,
)
from mallard_protocol.messages import (
    Answer,
    Barred,
    DropOff,
    JobEta,
    MallRef,
    MeetingPoint,
    Offer,
    ParcelLoad,
    PayAmount,
    ReturnTo,
    SocketJob,
    SocketTransfer,
    StoreVisit,
    Welcome,
)
from mallard_protocol.resources import Eta, ShopView
from mallard_protocol.resources.tracking import TrackedDriver, Tracking
from tests.pages.browser import Watched, opened, settled

Change = Callable[[Any], Any]
START_MS: Final = 1_780_000_000_000
_MINUTE_MS: Final = 60_000
_ZONE: Final = "America/Phoenix"
_MALL: Final = "chandler-fashion-center"
_AT_MALL: Final = {"latitude": 33.3031, "longitude": -111.8985, "accuracy": 8}
# Playwright's fixed clock leaves the uptime alone, by which the client counts an offer's seconds.
_STILL: Final = f"""
const Real = Date;
globalThis.Date = class extends Real {{
  constructor(...given) {{
    super(...(given.length > 0 ? given : [{START_MS}]));
  }}
  static now() {{
    return {START_MS};
  }}
}};
performance.now = () => 1000;
"""


def _ms(minutes: float) -> int:
    return START_MS + int(minutes * _MINUTE_MS)


def _at(minutes: float) -> datetime:
    return datetime.fromtimestamp(_ms(minutes) / 1000, UTC)


def _plain(answer: Struct) -> Any:
    return msgspec.json.decode(encode_json(answer))


# The driver's socket

_MALL_REF: Final = MallRef(
    _MALL, "Chandler Fashion Center", 33.3014, -111.8985, "north", 33.3031, -111.8985
)


def _job(number: int, state: str, **fields: Any) -> SocketJob:
    shops = (
        StoreVisit("lego", "Lego", "north", 1, _ms(-5), 1, pickup_code="7731", state="ready"),
        StoreVisit("sephora", "Sephora", "west", 2, _ms(12), 3, state="waiting"),
    )
    given: dict[str, Any] = {
        "stores": shops[: 1 + number % 2],
        "dropoff": DropOff(
            33.32,
            -111.84,
            _ms(40 + 15 * number),
            address=f"{number}20 Palm Lane, Chandler",
            name=("Ana Ito", "Ben Okafor")[number % 2],
            contact="+1 480 555 0100",
            note="Gate code 4411. Please mind the dog.",
        ),
        "parcels": ParcelLoad(4 if number % 2 else 1, 1_500, 6),
        "eta": JobEta(_ms(4), _ms(25 + 10 * number)),
        "external_id": f"A-10{number}7",
        "handover_code": "A7K2M",
        **fields,
    }
    return SocketJob(
        job=f"job_phoenix_{number}",
        attempt=1,
        state=state,
        mall=_MALL_REF,
        requires=(),
        **given,
    )


def _offer() -> Offer:
    jobs = tuple(
        _job(number, "offered", dropoff=DropOff(33.3, -111.8, _ms(40 + 15 * number)))
        for number in (1, 2)
    )
    return Offer(
        seq=1,
        offer="offer_1",
        attempt=1,
        jobs=jobs,
        mall=_MALL_REF,
        eta_s=280,
        distance_m=2_430,
        expires_ms=START_MS + 28_000,
        server_time_ms=START_MS,
        pay=PayAmount(1_150, "USD"),
    )


def _run(first: str) -> Mapping[str, Any]:
    if first == "at_mall":
        return {"state": "on_run", "jobs": (_job(1, "at_mall"), _job(2, "at_mall"))}
    jobs = tuple(_job(number, "picked_up", stores=_collected()) for number in (1, 2))
    return {"state": "on_run", "jobs": jobs}


def _collected() -> tuple[StoreVisit, ...]:
    return tuple(msgspec.structs.replace(it, state="collected") for it in _job(1, "x").stores)


def _transferred() -> SocketJob:
    transfer = SocketTransfer("transfer_1", MeetingPoint(33.31, -111.86), "Teal", _ms(5), "91B4")
    answer = Answer("problem_1", "wait", "The customer is on the way down.")
    return _job(1, "picked_up", stores=_collected(), transfer=transfer, answer=answer)


def _returning() -> SocketJob:
    place = ReturnTo("store", _MALL, "lego", 33.3, -111.9, _ms(120))
    return _job(2, "returning", stores=_collected(), return_to=place)


_WELCOMES: Final[Mapping[str, Callable[[], Mapping[str, Any]]]] = {
    "offline": lambda: {"state": "offline"},
    "no-offers": lambda: {
        "state": "available",
        "barred": Barred("cooling_down", _ms(7)),
    },
    "offer": lambda: {"state": "offered", "offer": _offer()},
    "mall": partial(_run, "at_mall"),
    "door": partial(_run, "picked_up"),
    "rest": lambda: {"state": "on_run", "jobs": (_transferred(), _returning())},
}


async def _socket(socket: WebSocket, change: Change) -> None:
    await socket.accept(subprotocol=SUBPROTOCOL_MSGPACK)
    hello = msgspec.msgpack.decode(await socket.receive_bytes())
    state = jwt.decode(hello["token"], options={"verify_signature": False})["sub"]
    fields: dict[str, Any] = {"offer": None, "jobs": (), **_WELCOMES[state]()}
    welcome = Welcome(
        session="s1",
        driver=state,
        market="phoenix",
        seq=0,
        server_time_ms=START_MS,
        ping_ms=600_000,
        location_ms=4_000,
        max_bytes=16_384,
        token_expires_ms=_ms(600),
        **fields,
    )
    await socket.send_bytes(msgspec.msgpack.encode(change(_plain(welcome))))
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            await socket.receive_bytes()


# The counter of a shop


def _pickup(number: int, state: str, shop: str, parcels: int, **fields: Any) -> ShopPickup:
    return ShopPickup(
        id=f"job_phoenix_{number}",
        state=state,
        stores=(
            ShopView(
                "lego",
                parcels=parcels,
                state=shop,
                collected_parcels=parcels if shop == "collected" else 0,
            ),
        ),
        external_id=f"A-10{number}7",
        **fields,
    )


def _pickups() -> ShopPickupList:
    heron, teal = PickupDriver("Blue Heron", "bike"), PickupDriver("Teal", "car")
    return ShopPickupList(
        (
            _pickup(1, "at_mall", "ready", 2, driver=heron, eta=PickupEta(_at(-1))),
            _pickup(2, "assigned", "waiting", 3, driver=teal, eta=PickupEta(_at(6))),
            _pickup(3, "queued", "waiting", 1, driver=None, eta=PickupEta(None)),
            _pickup(4, "scheduled", "short", 4, driver=None, eta=PickupEta(None)),
            _pickup(5, "picked_up", "collected", 1, driver=teal, eta=PickupEta(_at(-20))),
        ),
        None,
    )


def _returns() -> ShopReturnList:
    driver = PickupDriver("Mandarin", "van")
    back = ShopReturn("job_phoenix_6", "returning", 2, "4T8Q", driver, "A-1067")
    return ShopReturnList((back,), None)


# The customer's page

_HERON: Final = TrackedDriver("Blue Heron", "bike", 33.31, -111.87, 90.0, _at(-1))
_UNSEEN: Final = TrackedDriver("Blue Heron", "bike", None, None, None, None)
_TRACKED: Final[Mapping[str, Tracking]] = {
    "looking": Tracking("queued", Eta(None, None), None, None),
    "on-its-way": Tracking("picked_up", Eta(_at(-9), _at(14)), _HERON, 1),
    "at-the-shop": Tracking("at_mall", Eta(_at(2), _at(25)), _UNSEEN, None),
    "delivered": Tracking("delivered", Eta(_at(-30), _at(-2)), None, None),
    "returned": Tracking("returned", Eta(_at(-50), None), None, None),
}


async def _track(request: Request, change: Change) -> Response:
    shown = change(_plain(_TRACKED[request.path_params["state"]]))
    content = content_of(msgspec.convert(shown, Tracking), ZoneInfo(_ZONE), START_MS)
    template = page_files()["track.html"].content
    body = template.replace(b"<!--content-->", content.encode())
    return Response(body, headers=security_headers("track"), media_type="text/html; charset=utf-8")


def routes(change: Change = lambda content: content) -> list[BaseRoute]:
    """Return what the three pages ask for.

    Args:
        change: what to make of the content of each answer.
    """
    shop = "/v1/stores/{mall}/{store}"

    def answering(answer: Struct) -> Callable[[Request], Response]:
        return lambda _: JsonResponse(change(_plain(answer)))

    async def socket(socket: WebSocket) -> None:
        await _socket(socket, change)

    async def track(request: Request) -> Response:
        return await _track(request, change)

    return [
        WebSocketRoute("/v1/driver", socket),
        Route(f"{shop}/pickups", answering(_pickups())),
        Route(f"{shop}/returns", answering(_returns())),
        Route("/track/{state}", track),
    ]


# The states


@dataclass(frozen=True, slots=True)
class State:
    """A page in a state: its address, who is signed in, a text that is there, what is pressed."""

    path: str
    text: str
    claims: Mapping[str, str] = field(default_factory=dict)
    presses: tuple[str, ...] = ()


def _driver(state: str, text: str) -> State:
    return State("/driver", text, {"role": "driver", "sub": state, "market": "phoenix"})


def _shop(*presses: str) -> State:
    claims = {"role": "store", "sub": "till", "market": "phoenix", "mall": _MALL, "store": "lego"}
    return State("/shop", "Code for the driver", claims, presses)


STATES: Final[Mapping[str, State]] = {
    "driver-offer": _driver("offer", "2 orders in one run"),
    "driver-mall": _driver("mall", "Collected"),
    "driver-door": _driver("door", "I am at the door"),
    "driver-offline": _driver("offline", "Ready to drive?"),
    "driver-no-offers": _driver("no-offers", "No offers right now"),
    "shop-list": _shop(),
    "shop-short": _shop("Short…"),
    "shop-handover": _shop("Hand over"),
    "track-looking": State("/track/looking", "Looking for a driver"),
    "track-on-its-way": State("/track/on-its-way", "On its way to you"),
    "track-at-the-shop": State("/track/at-the-shop", "The driver is at the shop"),
    "track-delivered": State("/track/delivered", "Thank you"),
    "track-returned": State("/track/returned", "Back at the shop"),
}
# Not drawn: what is on them stands on the others.
MORE_STATES: Final = {"driver-rest": _driver("rest", "Bring back")}


def _token(claims: Mapping[str, str]) -> str:
    content = {**claims, "exp": int(time.time()) + 86_400}
    return jwt.encode(content, "a recorded page has no secret, only this text", "HS256")


@asynccontextmanager
async def opened_person(browser: Any, url: str, name: str) -> AsyncIterator[Watched]:
    """Open a page in a state, and wait until it is drawn."""
    state = STATES.get(name) or MORE_STATES[name]
    async with opened(
        browser,
        url + state.path,
        size="phone",
        token=_token(state.claims) if state.claims else None,
        script=_STILL,
        timezone_id=_ZONE,
        geolocation=_AT_MALL,
        permissions=["geolocation"],
    ) as it:
        await it.page.get_by_text(state.text).first.wait_for()
        if state.path == "/driver":
            await it.page.get_by_text("Connected").wait_for()
        for press in state.presses:
            await it.page.get_by_role("button", name=press).first.click()
        await settled(it.page)
        yield it
