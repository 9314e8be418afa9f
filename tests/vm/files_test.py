#!/usr/bin/env python3
"""What the virtual machine is given is sound before it is booted: a case that a typing error keeps
from running looks like a case that passed. Prints `ok NAME` or `not ok NAME: WHY`."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def bundles_are_json_and_used(cases):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name, "bundles")
        subprocess.run([sys.executable, HERE / "bundles.py", directory], check=True)
        made = set()
        for path in directory.glob("*/config.json"):
            text = re.sub(r"@[A-Z]+@", "0", path.read_text())
            config = json.loads(text)
            made.add(path.parent.name)
            if config["linux"]["cgroupsPath"] != f"/vm/{path.parent.name}":
                yield f"{path.parent.name}: its cgroup is not where the cases look"
    used = set(re.findall(r"^\s*(?:run|begin) ([a-z][a-z-]*)", cases, re.M))
    used |= set(re.findall(r"/vm/bundles/([a-z-]+)", cases))
    for name in sorted(used - made):
        yield f"the cases want bundle {name}"
    for name in sorted(made - used):
        yield f"no case uses bundle {name}"


def cases_are_sh(_):
    for name in ("init", "start", "cases"):
        done = subprocess.run(["busybox", "sh", "-n", HERE / name], capture_output=True, text=True)
        if done.returncode != 0:
            yield f"{name}: {done.stderr.strip()}"


def every_case_is_found_by_its_name(cases):
    listed = re.findall(r"^case_([a-z0-9_]*)\(\)", cases, re.M)
    written = re.findall(r"^\s*(?:function )?case_(\S+?)\s*\(\)", cases, re.M)
    if not listed or listed != written:
        yield f"names the loop would miss: {sorted(set(written) - set(listed))}"
    if len(set(listed)) != len(listed):
        yield "two cases have one name"


def main():
    cases = (HERE / "cases").read_text()
    failed = False
    for rule in (bundles_are_json_and_used, cases_are_sh, every_case_is_found_by_its_name):
        complaints = list(rule(cases))
        name = rule.__name__.replace("_", " ")
        failed = failed or bool(complaints)
        print(f"not ok vm {name}: {'; '.join(complaints)}" if complaints else f"ok vm {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
