"""Sends a message to an address in the notation of apprise (https://github.com/caronc/apprise), an optional extra.

`send` runs this very module as a process of its own: apprise with all of its services takes 20 MiB and a part
of a second to load, which the supervisor does not carry, and one that hangs can be ended. Addresses hold
passwords, so they go by standard input, and what comes back names them without.

    stdin:  {"url": "…", "title": "…", "body": "…"}
    stdout: one line, why it was not sent; nothing: it was
"""

from __future__ import annotations

import importlib.util
import json
import logging
import subprocess
import sys

SEND_SECONDS = 60.0
"""How long one message may take; apprise itself gives a server 4 s to connect and 4 s to answer."""
INSTALL = "pip install 'hitui[notify]'"


def installed() -> bool:
    """Whether apprise can be imported here. It is not."""
    try:
        return importlib.util.find_spec("apprise") is not None
    except (ImportError, ValueError):
        # What some other program has put in the way of imports may raise.
        return False


def send(url: str, title: str, body: str, timeout: float = SEND_SECONDS) -> str:
    """Empty when it was sent, else one line that says why not, without any password of the address."""
    message = json.dumps({"url": url, "title": title, "body": body})
    scheme = url.partition("://")[0]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "hitui.adapters.notify"],
            input=message.encode(),
            capture_output=True,
            cwd="/",
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        return f"{scheme}://…: no answer in {timeout:.0f} s"
    except OSError as error:
        return f"{scheme}://…: {error.strerror}"
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == 0 and not said:
        return ""
    # A traceback may hold the address.
    return said.partition("\n")[0] or f"{scheme}://…: the sender ended with status {done.returncode}"


def main() -> int:
    """The process that sends."""
    import apprise

    logging.getLogger("apprise").addHandler(logging.NullHandler())
    message = json.load(sys.stdin)
    service = apprise.Apprise.instantiate(message["url"])
    if service is None:
        scheme = message["url"].partition("://")[0]
        sys.stdout.write(f"{scheme}://…: apprise does not understand this address\n")
        return 1
    if not service.notify(body=message["body"], title=message["title"]):
        named = service.url(privacy=True).partition("?")[0]
        sys.stdout.write(f"{named}: it was not accepted\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
