"""The command line: one command, lazily imported subcommands."""
