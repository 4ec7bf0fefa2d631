#!/usr/bin/env bash
# A Chromium for the tests that look at the page; where none can be had they are skipped. The argument is Python.
set -u
python=${1:-python3}
export DEBIAN_FRONTEND=noninteractive

there() { [ -n "${LANDSCAPE_CHROMIUM:-}" ] || command -v chromium || command -v google-chrome; }
system() {
    [ "$(id -u)" = 0 ] && command -v apt-get && timeout 60 apt-get update -q
    [ "$(id -u)" = 0 ] && timeout 300 apt-get install -y -q --no-install-recommends chromium && there
}

there >/dev/null || system >/dev/null 2>&1 || timeout 300 "$python" -m playwright install chromium >/dev/null 2>&1 ||
    echo "no Chromium: not on PATH, and neither apt-get nor playwright installs one; the tests in a browser are skipped" >&2
