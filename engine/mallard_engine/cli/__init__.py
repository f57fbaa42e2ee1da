"""The command line: how a command is found and run, and what commands share."""
