"""`python -m engine` is `mallard`."""

import sys

from mallard_engine.cli.main import main

sys.exit(main())
