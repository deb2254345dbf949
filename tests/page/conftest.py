# SPDX-License-Identifier: LGPL-2.1-or-later
"""The page in a browser: needs what the simulated hosts of tests/faults need, and Chromium."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "faults"))


@pytest.fixture(scope="session")
def browser():
    from browser import Browser

    with Browser() as b:
        yield b


@pytest.fixture(autouse=True)
def as_it_was(browser):
    """Each test begins with a wide, light window, and ends without an error on the console."""
    browser.resize(1200, 900)
    browser.colours(dark=False)
    browser.console()
    yield
    # But for what it asked of a daemon that had gone, or that hung up on a browser slower than its patience.
    gone = ("ERR_CONNECTION_REFUSED", "ERR_SOCKET_NOT_CONNECTED")
    assert not [line for line in browser.console() if not any(word in line for word in gone)]
    browser.driver.get("about:blank")
