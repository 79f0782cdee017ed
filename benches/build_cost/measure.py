#!/usr/bin/env python3
"""The CPU time of clean release builds with this crate and without, the size of the programs, and what the build script takes.

    python3 benches/build_cost/measure.py [BEFORE]

BEFORE is another checkout of this repository, whose library is measured too. The subjects are built in turn, three times each,
and the least time of each counts. The load average of the last minute stands beside each build: a build alone on a machine
brings it to the number of processors.
"""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[1]
WORK = CHECKOUT / "target/build_cost"
ROUNDS = 3


def cargo(*arguments, folder=CHECKOUT):
    subprocess.run(["cargo", *arguments], cwd=folder, check=True)


def stage(name, document):
    """The library as it is published, made from this document."""
    cargo("xtask", "stage", "--document", document, "--into", WORK / name)
    return WORK / name


def write_program(subject, program, library):
    """Writes a program that uses the library in that folder, with the versions of its Cargo.lock."""
    folder = WORK / "programs" / subject
    shutil.copytree(HERE / program / "src", folder / "src")
    manifest = (HERE / program / "Cargo.toml").read_text()
    (folder / "Cargo.toml").write_text(manifest.replace('path = "../../.."', f'path = "{library}"'))
    shutil.copy(library / "Cargo.lock", folder)
    cargo("fetch", "--quiet", folder=folder)
    return folder


def build(program, folder):
    """Builds from nothing. Returns the CPU seconds of all processes, the C of aws-lc included, and the bytes of the program."""
    target = WORK / "target"
    shutil.rmtree(target, ignore_errors=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cargo("build", "--quiet", "--release", "--offline", "--target-dir", target, folder=folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return cpu, (target / "release" / program).stat().st_size


def run_build_script(library):
    """Runs the build script that was built last, of that library, once more. Returns its CPU seconds and its most memory in MiB."""
    (script,) = (WORK / "target/release/build").glob("bunq-partner-*/build-script-build")
    out = WORK / "out"
    out.mkdir(exist_ok=True)
    process = subprocess.Popen([script], cwd=library, env=os.environ | {"OUT_DIR": str(out)}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"the build script of {library} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    document = CHECKOUT / "openapi/bunq-partner.yaml"
    more = WORK / "more.yaml"
    with more.open("w") as file:
        subprocess.run([sys.executable, HERE / "more_operations.py", document], stdout=file, check=True)
    subjects = {
        "bare": ("bare", CHECKOUT),
        "checkout": ("partner", CHECKOUT),
        "package": ("partner", stage("package", document)),
        "package, 44 operations more": ("partner", stage("package-more", more)),
    }
    if len(sys.argv) > 1:
        subjects["before"] = ("partner", Path(sys.argv[1]).resolve())
    folders = {subject: write_program(subject, *subjects[subject]) for subject in subjects}
    least, size, scripts = {}, {}, {}
    for number in range(1, ROUNDS + 1):
        for subject, (program, library) in subjects.items():
            cpu, size[subject] = build(program, folders[subject])
            least[subject] = min(cpu, least.get(subject, cpu))
            print(f"round {number}, load {os.getloadavg()[0]:.1f}: {subject} {cpu:.1f} s", flush=True)
            if subject in ("checkout", "before"):
                scripts.setdefault(subject, []).append(run_build_script(library))
    print()
    for subject in subjects:
        time, bytes_ = (values[subject] / values["bare"] for values in (least, size))
        print(f"{subject:28} {least[subject]:6.1f} s CPU ({time:.3f} × bare), {size[subject]:9,} B ({bytes_:.3f} × bare)")
    if "before" in subjects:
        time, bytes_ = (values["checkout"] / values["before"] for values in (least, size))
        print(f"checkout, × before: {time:.3f} of the CPU time, {bytes_:.3f} of the size")
    for subject, runs in scripts.items():
        cpu, memory = min(cpu for cpu, _ in runs), max(memory for _, memory in runs)
        print(f"build script of {subject}: {cpu:.2f} s CPU, {memory:.0f} MiB")


main()
