"""Deliberate defects, each of which the simulation has to notice.

Each patch of tests/simulate/mutants is applied to a copy of the tree under target/mutants, built, and
simulated, until a seed fails. It is an error if a patch no longer applies, if what it makes does not
compile, or if no seed fails.

    python3 tests/simulate/mutants.py [--seeds 500] [NAME...]
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests" / "simulate" / "mutants"
WORK = ROOT / "target" / "mutants"
TREE = WORK / "tree"
# A defect may make work that never ends.
RUN_SECONDS_MAX = 300


def copy_tree():
    """Makes the copy equal to the working tree, without touching what is equal already."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout
    names = {name for name in os.fsdecode(listed).split("\0") if name and (ROOT / name).is_file()}
    for old in [path for path in TREE.rglob("*") if path.is_file()]:
        if str(old.relative_to(TREE)) not in names:
            old.unlink()
    for name in names:
        source, copy = ROOT / name, TREE / name
        if copy.is_file() and copy.read_bytes() == source.read_bytes():
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def apply(patch):
    # Outside of any repository, paths are relative to where it runs.
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(WORK)}
    applied = subprocess.run(
        ["git", "apply", str(patch)], cwd=TREE, env=environment, capture_output=True, text=True
    )
    if applied.returncode != 0:
        sys.exit(f"{patch.name} no longer applies:\n{applied.stderr}")


def build(name):
    environment = {
        **os.environ, "CARGO_TARGET_DIR": str(WORK / "build"), "CARGO_PROFILE_DEV_DEBUG": "false"
    }
    built = subprocess.run(
        [os.environ.get("CARGO", "cargo"), "test", "--locked", "--no-default-features", "--test",
         "simulate", "--no-run", "--message-format", "json-render-diagnostics"],
        cwd=TREE, env=environment, capture_output=True, text=True,
    )
    if built.returncode != 0:
        sys.exit(f"{name} does not compile:\n{built.stderr}")
    messages = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    made = [message["executable"] for message in messages
            if message.get("executable") and message["target"]["name"] == "simulate"]
    return made[-1]


def simulate(executable, seeds):
    """The first seed that fails, and what it says; none if none fails."""
    environment = {
        **os.environ, "BRIGADE_TEST_SEEDS": str(seeds), "BRIGADE_TEST_FAILURES_MAX": "1",
        "RUST_BACKTRACE": "0",
    }
    try:
        ran = subprocess.run(
            [executable, "--nocapture", "whatever"], env=environment, capture_output=True,
            text=True, timeout=RUN_SECONDS_MAX, errors="replace",
        )
    except subprocess.TimeoutExpired:
        sys.exit(f"{executable} did not end within {RUN_SECONDS_MAX} s")
    failed = re.findall(r"^seed (\d+) failed.*\n  (.*)", ran.stdout, re.MULTILINE)
    if failed:
        seed, what = failed[0]
        return int(seed), what
    if ran.returncode != 0 and "never happened" not in ran.stderr:
        sys.exit(f"{executable} failed without a seed:\n{ran.stderr[-2000:]}")
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    patches = sorted(PATCHES.glob("*.patch"))
    if arguments.names:
        patches = [patch for patch in patches if patch.stem in arguments.names]
    if not patches:
        sys.exit("no such defect")
    TREE.mkdir(parents=True, exist_ok=True)
    missed = []
    print(f"{'defect':<38} {'seed':>5}  what was noticed", flush=True)
    for patch in patches:
        copy_tree()
        apply(patch)
        caught = simulate(build(patch.stem), arguments.seeds)
        if caught is None:
            missed.append(patch.stem)
            print(f"{patch.stem:<38} {'-':>5}  NOTHING in {arguments.seeds} seeds", flush=True)
        else:
            seed, what = caught
            print(f"{patch.stem:<38} {seed:>5}  {what[:120]}", flush=True)
    copy_tree()
    if missed:
        sys.exit(f"{len(missed)} of {len(patches)} defects were not noticed")
    print(f"all {len(patches)} defects were noticed, within {arguments.seeds} seeds each")


main()
