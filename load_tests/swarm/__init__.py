"""An open-model load generator: drivers on sockets, and orders that never wait for an answer.

It uses little CPU, as it often shares a machine with the engine.

From the command line, against an engine that runs (its secret is in its data folder):

    python -m load_tests.swarm --url http://127.0.0.1:8000 --secret-file .mallard/secret \
        --drivers 5000 --rate 100 --seconds 60

or against nodes and a Redis of its own:

    python -m load_tests.swarm --nodes 2 --drivers 5000 --rate 100 --seconds 60

The locust users have shapes, a web page and several machines; the swarm has a higher load and
precise timing.
As a library: `run_swarm(plan, credentials)` for one rate, `Swarm` for several in turn. Everything
is measured on one machine's monotonic clock, which its processes share.
"""
