"""`python -m engine` is `mallard`."""

import sys

from engine.cli import main

sys.exit(main())
