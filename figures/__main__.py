"""`python -m figures [study ...] [--results folder] [--force]`: run the studies; `make reproduce` runs all."""

import sys

from figures.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
