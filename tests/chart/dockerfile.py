#!/usr/bin/env python3
"""Checks the Dockerfile as far as it goes without a Docker engine.

    python tests/chart/dockerfile.py --binary target/release/loyaltyd
    python tests/chart/dockerfile.py --binary target/release/loyaltyd --build target/image      takes as long as a release build

It takes the files that the COPY lines bring (and .dockerignore lets through) into a fresh folder. There cargo must take the package without
a network, and every file that the release build read, by the list that cargo wrote beside the program, must be there. With --build the RUN
lines themselves run there. Besides: that the program needs no library that the final image does not have, that the image refuses to
serve strangers as it comes, runs as a user by number, and agrees with the chart. That the base images are there, and what they hold, is
not shown.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
# Of gcr.io/distroless/cc-debian12: glibc, and what GCC adds.
LIBRARIES = {
    "libc.so.6",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
    "libresolv.so.2",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
}
DEBIAN = {"bookworm": "debian12", "trixie": "debian13"}
SECRET = re.compile(r"secret|token|passw|credential|api_?key|private", re.IGNORECASE)


def fail(why):
    raise SystemExit(f"Dockerfile: {why}")


def require(holds, why):
    if not holds:
        fail(why)


def parse(text):
    """Stages of instructions: what comes before the first FROM, then one list for each. An instruction is a word and what follows it."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    stages = [[]]
    for line in joined:
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM":
            stages.append([])
        stages[-1].append((word.upper(), rest.strip()))
    return stages


def arguments_of(instructions, word):
    return [rest for found, rest in instructions if found == word]


def assigned(rests):
    """Of ARG and ENV."""
    pairs = [part.partition("=") for rest in rests for part in shlex.split(rest)]
    return {name: value for name, _, value in pairs}


def ignored(path, patterns):
    """Whether .dockerignore keeps a path out: the last pattern that fits it or a folder above it decides."""
    out = False
    parts = path.split("/")
    above = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    for pattern in patterns:
        negated, pattern = pattern.startswith("!"), pattern.removeprefix("!").strip("/")
        shape = re.escape(pattern).replace(r"\*\*/", "(?:.*/)?").replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        if any(re.fullmatch(shape, folder) for folder in above):
            out = not negated
    return out


def dockerignore():
    lines = [line.strip() for line in (ROOT / ".dockerignore").read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def context(patterns):
    """All that the engine would be sent."""
    found = []
    for folder, folders, files in os.walk(ROOT):
        relative = pathlib.Path(folder).relative_to(ROOT)
        # These are large; that they are kept out is checked by name below.
        folders[:] = [name for name in folders if str(relative / name) not in ("target", ".git")]
        found += [str(relative / name) for name in files]
    return {path for path in found if not ignored(path, patterns)}


def take(copies, sent, folder):
    """The files of COPY lines of the build's context."""
    for rest in copies:
        words = [word for word in shlex.split(rest) if not word.startswith("--")]
        *sources, target = words
        for source in sources:
            files = [path for path in sent if path == source or path.startswith(source + "/")]
            require(files, f"COPY {source}: nothing of that name is sent to the build")
            for file in files:
                inner = file.removeprefix(source).lstrip("/")
                into = folder / target
                # A file is copied under the target's name, into it if that is a folder; of a folder its content is.
                place = into / inner if inner else (into / pathlib.Path(source).name if target.endswith("/") else into)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, place)


def inputs(binary):
    """What the build of the program has read: cargo notes it beside a program that it was asked for, and of one that tests needed by its parts."""
    whole = binary.with_suffix(".d")
    notes = [whole] if whole.exists() else sorted((binary.parent / "deps").glob("loyaltyd-*.d"))
    read = set()
    for note in notes:
        for line in note.read_text().replace("\\ ", "\0").splitlines():
            read.update((ROOT / path.replace("\0", " ")) for path in line.partition(": ")[2].split() if not line.startswith("#"))
    return sorted(read)


def complete(folder, binary):
    """Cargo takes the package as it is there, and the release build has read nothing else."""
    # A build looks for every target that the manifest names, which `cargo metadata` does not; it ends here before it compiles anything.
    command = ["cargo", "build", "--locked", "--offline", "--release", "--bin", "none-of-this-name"]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(folder.parent / "target"), "CARGO_TERM_COLOR": "never"}
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    taken = "no bin target named `none-of-this-name`" in done.stderr
    require(taken, f"cargo does not take what is copied: {done.stderr}")
    read = inputs(binary)
    base = next((path.parents[1] for path in read if path.parts[-2:] == ("src", "main.rs")), None)
    require(base, f"what cargo noted beside {binary} does not name src/main.rs")
    inside = [path.relative_to(base) for path in read if path.is_relative_to(base) and not path.is_relative_to(base / "target")]
    # The scripts' own output lies in the target folder, wherever that is; which commit it is, LOYALTYD_REVISION says in the image.
    inside = [path for path in inside if "out" not in path.parts and path.parts[0] != ".git"]
    # Of a folder that a script reads, such as proto, all that is in it.
    within = [child.relative_to(ROOT) for path in inside for child in (ROOT / path).rglob("*") if child.is_file()]
    inside += within
    missing = [str(path) for path in inside if not (folder / path).exists()]
    require(len(inside) > 100 and not missing, f"the build reads {len(inside)} files, and these are not copied: {missing}")
    return len(inside)


def build(runs, environment, folder, target):
    """The builder's RUN lines, with the caches' folder where it is kept for a next time."""
    target.mkdir(parents=True, exist_ok=True)
    (folder / "target").symlink_to(target.resolve())
    for run in runs:
        command = re.sub(r"--mount=\S+\s*", "", run).replace("/image", str(folder / "image"))
        print(f"  {command}", flush=True)
        done = subprocess.run(["sh", "-ec", command], cwd=folder, stdin=subprocess.DEVNULL, env={**os.environ, **environment})
        require(done.returncode == 0, f"RUN ended with {done.returncode}")
    program = folder / "image" / "loyaltyd"
    print(f"  {program.stat().st_size / (1 << 20):.1f} MiB")
    return program


def libraries(program):
    done = subprocess.run(["readelf", "--dynamic", "--wide", program], check=True, capture_output=True, text=True)
    needed = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)\]", done.stdout))
    require(
        needed and needed <= LIBRARIES, f"{program} needs {needed - LIBRARIES or 'nothing, which cannot be'}, which the final image has not"
    )
    return needed


def refuses_strangers(final, program):
    """What the image does if nothing is given: it may not serve everybody."""
    environment = assigned(arguments_of(final, "ENV"))
    command = [*json.loads(arguments_of(final, "ENTRYPOINT")[0])[1:], *json.loads(arguments_of(final, "CMD")[0])]
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        environment["LOYALTYD_DATA"] = folder + "/data"
        environment["LOYALTYD_LISTEN"] = environment["LOYALTYD_LISTEN"].rsplit(":", 1)[0] + f":{probe.getsockname()[1]}"
        done = subprocess.run([program, *command], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
        require(done.returncode == 2 and "--insecure" in done.stderr, f"serves strangers: {done.returncode} {done.stderr}")
        require(not pathlib.Path(environment["LOYALTYD_DATA"]).exists(), "makes a folder before it refuses")


def image(head, builder, final):
    images = assigned(arguments_of(head, "ARG"))
    manifest = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]
    rust = re.fullmatch(r"rust:(\d+\.\d+\.\d+)-(\w+)", images["RUST_IMAGE"])
    require(rust, f"{images['RUST_IMAGE']} is no version of Rust on a Debian")

    def numbers(text):
        return [int(part) for part in text.split(".")]

    require(numbers(rust[1]) >= numbers(manifest["rust-version"]), f"Rust {rust[1]} is older than {manifest['rust-version']}")
    require(images["BASE_IMAGE"] == f"gcr.io/distroless/cc-{DEBIAN[rust[2]]}:nonroot", f"built on {rust[2]}, run on {images['BASE_IMAGE']}")
    require(builder[0][1] == "${RUST_IMAGE} AS builder" and final[0][1] == "${BASE_IMAGE}", "the stages have other images")
    allowed = {"FROM", "ARG", "LABEL", "COPY", "ENV", "USER", "WORKDIR", "EXPOSE", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    require({word for word, _ in final} <= allowed, "the final image has no shell to run anything")
    user = re.fullmatch(r"([1-9]\d*):([1-9]\d*)", arguments_of(final, "USER")[-1])
    require(user, "the user is not a number that is not 0")
    require(json.loads(arguments_of(final, "ENTRYPOINT")[0]) == ["/loyaltyd"], "another entry point")
    for word, rest in builder + final:
        named = assigned([rest]) if word in ("ARG", "ENV") else {}
        require(not any(SECRET.search(name) for name in named), f"{word} {rest} would stay in the image")
        require(word != "ADD", "ADD fetches and unpacks; COPY does not")
    copied = arguments_of(final, "COPY")
    require(all("--from=builder" in rest or rest.startswith("LICENSE") for rest in copied), "more than the program is copied")
    environment = assigned(arguments_of(final, "ENV"))
    (volume,) = json.loads(arguments_of(final, "VOLUME")[0])
    require(environment["LOYALTYD_DATA"].startswith(volume + "/"), "the data is not on the volume")
    require(arguments_of(final, "EXPOSE")[0] == environment["LOYALTYD_LISTEN"].rsplit(":", 1)[1], "another port is exposed")
    require(
        any(f"--chown={user[1]}:{user[2]}" in rest and rest.endswith(f" {volume}") for rest in copied),
        "the user cannot write to the volume",
    )
    version = assigned(arguments_of(final, "ARG"))["VERSION"]
    agrees_with_chart(user, volume, environment, version, manifest["version"])


def agrees_with_chart(user, volume, environment, version, package):
    values = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())
    chart = yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text())
    security = values["podSecurity"]
    require((str(security["runAsUser"]), str(security["runAsGroup"])) == (user[1], user[2]), "the chart runs another user")
    require(f"{values['listen']['address']}:{values['listen']['port']}" == environment["LOYALTYD_LISTEN"], "the chart listens elsewhere")
    require(f"mountPath: {volume}\n" in (ROOT / "helm" / "templates" / "statefulset.yaml").read_text(), "the chart has another volume")
    require(version == chart["appVersion"] == package, f"versions: image {version}, chart {chart['appVersion']}, package {package}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=pathlib.Path, help="the release build, with cargo's list of files beside it")
    parser.add_argument("--build", type=pathlib.Path, metavar="TARGET", help="run the builder's RUN lines, with this target folder")
    arguments = parser.parse_args()
    head, builder, final = parse((ROOT / "Dockerfile").read_text())
    image(head, builder, final)
    patterns = dockerignore()
    for kept_out in [
        "target/release/loyaltyd",
        ".git/config",
        "data/keys",
        "api.key",
        "src.key",
        "helm/values.yaml",
        ".env",
        "tests/it/support/mod.rs",
    ]:
        require(ignored(kept_out, patterns), f".dockerignore lets {kept_out} through")
    program = arguments.binary.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "src"
        folder.mkdir()
        take(arguments_of(builder, "COPY"), context(patterns), folder)
        count = complete(folder, program)
        if arguments.build:
            environment = assigned(arguments_of(builder, "ENV")) | assigned(arguments_of(builder, "ARG"))
            program = build(arguments_of(builder, "RUN"), environment, folder, arguments.build)
        needed = libraries(program)
        refuses_strangers(final, program)
    done = subprocess.run(["hadolint", ROOT / "Dockerfile"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    require(done.returncode == 0, f"hadolint:\n{done.stdout}{done.stderr}")
    print(f"Dockerfile: {count} files that the build reads are copied; libraries: {', '.join(sorted(needed))}; hadolint has nothing to say")


if __name__ == "__main__":
    sys.exit(main())
