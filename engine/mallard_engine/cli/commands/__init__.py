"""The sub-commands of `mallard`, one a module: `add_parser(subparsers)` and `run(args) -> int`."""
