# SPDX-License-Identifier: LGPL-2.1-or-later
"""Tests of migpolicyd on a simulated host: they need neither root nor libvirtd."""

import pathlib
import tempfile

import pytest
from simhost import MIGPOLICYD


def pytest_configure():
    assert MIGPOLICYD.exists(), "MIGPOLICY_BUILD must name the build directory"


@pytest.fixture
def tmp_path():
    """As pytest's own, but gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="migpolicy-") as name:
        yield pathlib.Path(name)
