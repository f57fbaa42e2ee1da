"""The open-model generator: drivers on sockets and orders that arrive by a clock that waits for
nobody, in as few CPU cycles as Python allows, since it often shares a machine with the engine.

From the command line, against an engine that runs (its secret is in its data folder):

    python -m load_tests.swarm --url http://127.0.0.1:8000 --secret-file .mallard/secret \
        --drivers 5000 --rate 100 --seconds 60

or against nodes and a Redis of its own:

    python -m load_tests.swarm --nodes 2 --drivers 5000 --rate 100 --seconds 60

Locust next door has shapes, a web page and many machines; this has the load and the clock.
As a library: `run_swarm(plan, credentials)` for one rate, `Swarm` for several in turn. Everything
is measured on one machine's monotonic clock, which its processes share.
"""
