"""Hostile clients, all at once, beside drivers and an order service that must not notice.

    python -m load_tests.attacks --seconds 60        # or: make attack

To add an attack: in a module of this folder write an async function that takes a `Victim`, decorate
it with `@attack("A6")` (the row of the list of faults), and add the module to `registry.MODULES`.
It plays one attacker once, until it is cut off; the generator repeats it until the time is over.
"""
