# SPDX-License-Identifier: LGPL-2.1-or-later
"""Chromium without a screen, for the page. Only loopback is reached."""

import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PATIENCE_S = 120


class Browser:
    def __init__(self, width=1200, height=900, dark=False, scale=1):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run",
                     "disable-background-networking", "disable-component-update", "disable-sync",
                     "disable-extensions", "ignore-certificate-errors", "hide-scrollbars", f"window-size={width},{height}",
                     "host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"):
            options.add_argument("--" + flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.resize(width, height, scale)
        self.colours(dark)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def cdp(self, method, **parameters):
        return self.driver.execute_cdp_cmd(method, parameters)

    def resize(self, width, height, scale=1):
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale,
                 mobile=width < 700)

    def colours(self, dark):
        self.cdp("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, host):
        self.go(f"http://127.0.0.1:{host.port}/")

    def go(self, url):
        self.driver.get(url)

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def text(self, selector="body"):
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait(self, script, *args):
        """Until the script returns something that is true, which is returned."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.js(script, *args)):
            assert time.monotonic() < end, f"{script}\n{self.text()}"
            time.sleep(0.1)
        return found

    def console(self):
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def screenshot(self, path):
        """What the window shows, as a PNG file."""
        self.driver.save_screenshot(str(path))
