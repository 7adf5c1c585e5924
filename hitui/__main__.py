"""`python -m hitui`."""

import sys

from hitui.cli import main

if __name__ == "__main__":
    sys.exit(main())
