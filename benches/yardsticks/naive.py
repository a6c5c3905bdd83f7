"""The plain design as a script that needs nothing but Python: naive.py JSON (see plain.rs)."""

import gzip
import json
import sys
import urllib.request

BODY_BYTES_MAX = 10_000_000


def main() -> None:
    given = json.loads(sys.argv[1])
    change = changed(given["change"])
    requests = body_bytes = 0

    def post(lines: list[bytes]) -> None:
        nonlocal requests, body_bytes
        body = gzip.compress(b"".join(lines), compresslevel=given["level"])
        headers = {"content-encoding": "gzip"}
        urllib.request.urlopen(urllib.request.Request(given["endpoint"], body, headers)).read()
        requests += 1
        body_bytes += len(body)

    for url in given["objects"]:
        lines, plain_bytes = [], 0
        for line in gzip.GzipFile(fileobj=urllib.request.urlopen(url)):
            line = change(line)
            if plain_bytes + len(line) > BODY_BYTES_MAX:
                post(lines)
                lines, plain_bytes = [], 0
            lines.append(line)
            plain_bytes += len(line)
        post(lines)
    print(json.dumps({"requests": requests, "body_bytes": body_bytes}), flush=True)
    sys.stdin.read()


def changed(change):
    if change == "unchanged":
        return lambda line: line
    if change == "message":
        return lambda line: (json.dumps({"message": line.decode().rstrip("\n")}, separators=(",", ":")) + "\n").encode()
    field = ('{"s3_object_key":"%s",' % change["source"]).encode()
    return lambda line: field + line[1:]


main()
