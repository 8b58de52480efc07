"""`python -m edge` is `edgetrack`."""

import sys

from edge.cli import main

sys.exit(main())
