"""Whether a package index answers: exit code 0, or 1 and one line that says what follows from it (the second argument).

It asks as pip does, through the proxy and with the certificates of the environment.
"""

from __future__ import annotations

import os
import ssl
import sys
import urllib.request

url, what_follows = sys.argv[1:]
try:
    trusted = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or None)
    with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10, context=trusted):
        pass
except (OSError, ValueError) as error:
    print(f"{url} does not answer ({getattr(error, 'reason', error)}): {what_follows}", file=sys.stderr)
    sys.exit(1)
