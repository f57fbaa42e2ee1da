"""Hostile clients, all at once, beside drivers and an order service that must stay unaffected.

    python -m load_tests.attacks --seconds 60        # or: make attack

To add an attack: in a module of this folder write an async function that takes a `Victim`, decorate
it with `@attack("A6")` (the row of the list of faults), and add the module to `registry.MODULES`.
It plays one attacker until the server disconnects it; the generator repeats it until the end.
"""
