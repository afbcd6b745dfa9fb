"""`python -m pin_memory` is the console command `pin-memory`."""

from pin_memory.cli import main

main()
