"""A log endpoint on loopback that counts every record by its id.

It answers as the Logz.io listener does: 401 for a wrong token, 400 for a body it cannot read,
200 for lines it took. A body must be one gzip member holding JSON lines.
"""

import json
import threading
import zlib
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Listener:
    def __init__(self, token: str):
        self.token = token
        self.records: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.faults: list[str] = []
        self.refused = 0
        self.unwell = 0
        self.unwell_for: str | None = None
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()

    def missing(self, wanted):
        with self.lock:
            return [id for id in wanted if self.records[id] == 0]

    def doubled(self, wanted):
        with self.lock:
            return [id for id in wanted if self.records[id] > 1]

    def _answer(self, query, headers, body) -> int:
        """The status for one request; counts its records when that is 200."""
        if query.get("token") != [self.token]:
            self.refused += 1
            return 401
        try:
            lines = self._lines(headers, body)
            ids = [json.loads(line)["id"] for line in lines]
        except Exception as fault:  # whatever it is, the test shows it
            self.faults.append(f"{type(fault).__name__}: {fault}")
            return 400
        if self.unwell_for and any(id.startswith(self.unwell_for) for id in ids):
            self.unwell += 1
            return 503
        self.records.update(ids)
        self.types.update(query.get("type", []))
        return 200

    @staticmethod
    def _lines(headers, body):
        if headers.get("content-encoding") == "gzip":
            gunzip = zlib.decompressobj(31)
            body = gunzip.decompress(body) + gunzip.flush()
            if not gunzip.eof or gunzip.unused_data:
                raise ValueError("the body is not exactly one gzip member")
        return [line for line in body.split(b"\n") if line]

    def _handler(listener):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self._body()
                query = parse_qs(urlsplit(self.path).query)
                with listener.lock:
                    status = listener._answer(query, self.headers, body)
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def _body(self):
                if self.headers.get("transfer-encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("content-length", 0)))
                parts = []
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    parts.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(parts)

            def log_message(self, *args):
                pass

        return Handler
