"""A bare sink: it accepts driver sockets and throws their frames away.

No Python server can take a frame for less, so it is the floor of what a position and a socket cost.
``python -m load_tests.benchmarks.peers.sink --port 8001 --markets markets.json``
"""

import argparse

from load_tests.benchmarks.peers.serving import (
    Message,
    Receive,
    Send,
    add_serving_flags,
    respond,
    serve,
)
from load_tests.frames import SUBPROTOCOL


async def sink(scope: Message, receive: Receive, send: Send) -> None:
    """Accept sockets and discard their frames."""
    if scope["type"] != "websocket":
        await respond(send, 404, b"{}")
        return
    await receive()
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
    while (await receive())["type"] == "websocket.receive":
        pass


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(
        prog="python -m load_tests.benchmarks.peers.sink", description=__doc__
    )
    add_serving_flags(parser)
    serve(sink, parser.parse_args())


if __name__ == "__main__":
    main()
