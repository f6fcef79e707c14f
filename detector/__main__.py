"""``python -m detector``: the console script without its folder on the search path."""

import sys

from detector.cli import main

if __name__ == "__main__":
    sys.exit(main())
