"""`python -m mallard_engine` is `mallard`."""

import sys

from mallard_engine.cli.main import main

sys.exit(main())
