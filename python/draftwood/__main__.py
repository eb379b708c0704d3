"""`python -m draftwood` is the command `draftwood`."""

from .cli import main

main()
