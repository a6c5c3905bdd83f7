"""Gzip as it is written by encoders that are no crates, and decoders of other hands.

    encoders.py write FOLDER   writes FOLDER/plain/*.log and FOLDER/objects/PLAIN.ENCODER.gz
    encoders.py check FOLDER   inflates the bodies that the test `encoders::` made of them, with zlib and ISA-L
"""

import os
import pathlib
import random
import shutil
import subprocess
import sys
import zlib

from isal import isal_zlib
from zlib_ng import zlib_ng
from zopfli.zlib import compress as zopfli

PLAIN_BYTES = 600_000
ZOPFLI_BYTES = 200_000  # it takes seconds for a megabyte

STRATEGIES = {"default": 0, "filtered": 1, "huffman": 2, "rle": 3, "fixed": 4}
FLUSHES = {"partial": 1, "sync": 2, "full": 3, "block": 5}

GO = """package main

import (
	"compress/gzip"
	"io"
	"os"
	"strconv"
)

func main() {
	level, _ := strconv.Atoi(os.Args[1])
	w, err := gzip.NewWriterLevel(os.Stdout, level)
	if err != nil {
		panic(err)
	}
	if _, err = io.Copy(w, os.Stdin); err != nil {
		panic(err)
	}
	if err = w.Close(); err != nil {
		panic(err)
	}
}
"""


def ndjson():
    chance = random.Random(1)
    size = 0
    while size < PLAIN_BYTES:
        line = (
            '{"ClientIP":"203.0.113.%d","EdgeStartTimestamp":%d,"RayID":"%016x","Status":%d,"Uri":"/%s","Agent":"%s"}\n'
            % (
                chance.randrange(256),
                1_700_000_000_000 + size,
                chance.getrandbits(64),
                chance.choice([200, 200, 200, 304, 404]),
                chance.choice(["index.html", "api/v1/items", "images/logo.png", "日本語"]),
                chance.choice(["Mozilla/5.0", "curl/8.5.0", "Gö/1.1"]),
            )
        ).encode()
        size += len(line)
        yield line


def text():
    chance = random.Random(2)
    size = 0
    while size < PLAIN_BYTES:
        # One line is as long as the window reaches, now and then.
        words = 3_000 if chance.random() < 0.0005 else chance.randrange(3, 30)
        line = " ".join("%x" % chance.randrange(4_000) for _ in range(words)).encode() + b"\n"
        size += len(line)
        yield line


def member(library, plain, level, strategy=0, flush=None, memory=8):
    stream = library.compressobj(level, 8, 31, memory, strategy)
    if flush is None:
        return stream.compress(plain) + stream.flush()
    pieces = [plain[at : at + 50_000] for at in range(0, len(plain), 50_000)]
    return b"".join(stream.compress(piece) + stream.flush(flush) for piece in pieces) + stream.flush()


def raw_member(deflated, plain):
    tail = zlib.crc32(plain).to_bytes(4, "little") + (len(plain) & 0xFFFFFFFF).to_bytes(4, "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + deflated + tail


def run(plain, *command):
    return subprocess.run(command, input=plain, stdout=subprocess.PIPE, check=True).stdout


def objects(plain, folder):
    for name, library in [("zlib", zlib), ("zlib-ng", zlib_ng)]:
        for level in range(10):
            for strategy, number in STRATEGIES.items():
                yield f"{name}-{level}-{strategy}", member(library, plain, level, number)
        for flush, number in FLUSHES.items():
            for level in (1, 6, 9):
                yield f"{name}-{level}-{flush}", member(library, plain, level, 0, number)
        for memory in (1, 9):
            yield f"{name}-6-memory-{memory}", member(library, plain, 6, 0, None, memory)
    for level in range(4):
        yield f"isal-{level}", member(isal_zlib, plain, level)
        for flush in ("sync", "full"):
            yield f"isal-{level}-{flush}", member(isal_zlib, plain, level, 0, FLUSHES[flush])
    half = len(plain) // 2
    yield "two-members", member(zlib, plain[:half], 6) + member(isal_zlib, plain[half:], 1)
    yield "with-empty-members", b"".join(
        member(zlib_ng, plain[at : at + 100_000], 6) + member(zlib, b"", 9)
        for at in range(0, len(plain), 100_000)
    )
    commands = {f"{tool}{level}": [tool, level, "-c"] for tool in ("gzip", "pigz") for level in ("-1", "-6", "-9")}
    commands |= {"pigz-i": ["pigz", "-i", "-c"], "pigz-z": ["pigz", "-11", "-c"]}
    for name, command in commands.items():
        if shutil.which(command[0]):
            yield name, run(plain, *command)
    if shutil.which("go"):
        source, program = folder / "gzip.go", folder / "gzip"
        if not program.exists():
            source.write_text(GO)
            environment = os.environ | {"GOTOOLCHAIN": "local", "GOCACHE": str(folder.absolute() / "go")}
            subprocess.run(["go", "build", "-o", program, source], check=True, env=environment)
        # -2: Huffman codes only; -1: the default.
        for level in range(-2, 10):
            yield f"go{level}", run(plain, program, str(level))


def write(folder):
    shutil.rmtree(folder, ignore_errors=True)
    for each in ("plain", "objects", "bodies"):
        (folder / each).mkdir(parents=True)
    for tool in ("gzip", "pigz", "go"):
        if not shutil.which(tool):
            print(f"{tool} is not here: without what it would write")
    count = 0
    for name, lines in [("ndjson", ndjson()), ("text", text())]:
        plain = b"".join(lines)
        (folder / "plain" / f"{name}.log").write_bytes(plain)
        for encoder, gzip in objects(plain, folder):
            (folder / "objects" / f"{name}.{encoder}.gz").write_bytes(gzip)
            count += 1
    some = plain[: plain.rindex(b"\n", 0, ZOPFLI_BYTES) + 1]
    (folder / "plain" / "some.log").write_bytes(some)
    # Without the two bytes of zlib's header and the four of its trailer.
    (folder / "objects" / "some.zopfli.gz").write_bytes(raw_member(zopfli(some)[2:-4], some))
    print(f"{count + 1} objects")


def check(folder):
    count = 0
    runs = sorted((folder / "bodies").iterdir())
    for bodies in runs:
        plain = (folder / "plain" / f"{bodies.name.split('.')[0]}.log").read_bytes()
        at = 0
        for body in sorted(bodies.iterdir()):
            gzip = body.read_bytes()
            found = []
            for library in (zlib, isal_zlib):
                stream = library.decompressobj(31)
                found.append(stream.decompress(gzip))
                assert stream.eof and not stream.unused_data, body
            expected = plain[at : at + len(found[0])]
            assert found == [expected, expected], body
            at += len(expected)
            count += 1
        assert at == len(plain), bodies
    assert count, "no body to check"
    print(f"{count} bodies of {len(runs)} runs: one member each for zlib and ISA-L, and nothing lost")


{"write": write, "check": check}[sys.argv[1]](pathlib.Path(sys.argv[2]))
