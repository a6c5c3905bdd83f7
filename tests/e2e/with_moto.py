"""Runs a command beside a moto server: with_moto.py VENV -- COMMAND...

The command finds the server's address in BRIGADE_TEST_ENDPOINT.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request


def main() -> int:
    venv, separator, *command = sys.argv[1:]
    assert separator == "--" and command, __doc__
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(
            [f"{venv}/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            if not answers(url, server):
                log.seek(0)
                sys.exit(f"moto did not start:\n{log.read().decode(errors='replace')}")
            return subprocess.run(command, env=os.environ | {"BRIGADE_TEST_ENDPOINT": url}).returncode
        finally:
            server.terminate()
            server.wait()


def answers(url: str, server: subprocess.Popen) -> bool:
    for _ in range(150):
        try:
            urllib.request.urlopen(f"{url}/moto-api/", timeout=1).close()
            return True
        except OSError:
            if server.poll() is not None:
                return False
            time.sleep(0.2)
    return False


sys.exit(main())
