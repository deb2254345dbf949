# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page in a browser: needs what the simulated hosts of tests/faults need, and Chromium."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "faults"))
