"""`python -m spinward`: the command `spinward`, for where it is not on the path."""

import sys

from spinward.cli.main import main

sys.exit(main())
