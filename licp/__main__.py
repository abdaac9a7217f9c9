"""``python -m licp``: the command line."""

from licp.cli import main

main()
