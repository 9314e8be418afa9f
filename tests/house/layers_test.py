#!/usr/bin/env python3
"""The house keeps to its plan: floors, doors, headers and what may lie about.

Goal: a reader can trust the map; a floor's DEPENDS line in its CMakeLists.txt is its permission to
include, and nothing else is. Method: read every file that git knows, and compile each header alone.
Prints `ok NAME` or `not ok NAME: WHY` per rule; each rule is also fed a house that breaks it.
"""
import concurrent.futures
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]

# Bottom up. Rooms on one floor have no doors between them.
HEIGHT = {"base": 0, "sys": 1, "codec": 1, "ring": 2, "oci": 2, "bpf": 3, "http": 3,
          "container": 4, "image": 4, "logs": 4, "dns": 4, "net": 4, "core": 5, "build": 5, "engine": 6, "api": 7, "cli": 8}
TOP_LEVEL = {"CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md", "src", "bpf", "include",
             "bench", "tests", "tools"}
# Third-party headers stay behind the public door.
FOREIGN = re.compile(r"simdjson|seccomp\.h|bpf/|libbpf|mimalloc|liburing|gtest|benchmark/|nghttp2|\.skel\.h")
# They start slowly, or add hundreds of kilobytes to a static program.
BANNED = re.compile(r"<(iostream|regex|locale|filesystem|sstream|fstream|iomanip|future|thread)>")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


class House:
    def __init__(self, root):
        self.root = pathlib.Path(root)
        listed = subprocess.run(["git", "-C", root, "ls-files", "-z", "--cached", "--others",
                                 "--exclude-standard"], capture_output=True, check=True).stdout
        names = sorted(name for name in listed.decode().split("\0") if name)
        self.files = {name: (self.root / name).read_text(errors="replace") for name in names
                      if (self.root / name).is_file()}

    def select(self, *suffixes, under=""):
        return {name: text for name, text in self.files.items()
                if name.startswith(under) and name.endswith(suffixes)}


def floor_of(name):
    parts = name.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "src" else None


def permissions(house):
    """Floor to the floors its CMakeLists.txt names, with what those name in turn."""
    direct = {}
    for name, text in house.select("CMakeLists.txt", under="src/").items():
        text = re.sub(r"#.*", "", text)
        for floor, rest in re.findall(r"nacelle_floor\(\s*(\w+)([^)]*)\)", text):
            depends = rest.partition("DEPENDS")[2].split()
            direct[floor] = [word for word in depends if word in HEIGHT]
    reachable = {}
    for floor in direct:
        seen, todo = set(), list(direct[floor])
        while todo:
            lower = todo.pop()
            if lower not in seen:
                seen.add(lower)
                todo += direct.get(lower, [])
        reachable[floor] = seen
    return direct, reachable


def rule_floors_depend_downwards(house):
    direct, _ = permissions(house)
    for floor, depends in direct.items():
        if floor not in HEIGHT:
            yield f"src/{floor}: no such floor in the plan"
            continue
        for lower in depends:
            if HEIGHT[lower] >= HEIGHT[floor]:
                yield f"src/{floor}/CMakeLists.txt: {floor} may not stand on {lower}"


def rule_includes_keep_to_the_permission(house):
    _, reachable = permissions(house)
    for name, text in house.select(".h", ".cc", ".c", under="src/").items():
        floor = floor_of(name)
        if floor is None:
            continue
        for kind, target in INCLUDE.findall(text):
            room = target.split("/")[0]
            if kind != '"' or room not in HEIGHT or "/" not in target or room == floor:
                continue
            if floor == "cli":
                continue  # the top: everything is below it
            if room not in reachable.get(floor, set()):
                yield f"{name}: includes {target}, and {floor} has no permission for {room}"


def rule_quoted_includes_name_a_file_of_ours(house):
    roots = ("", "src/", "include/")
    # What the build generates is named where it is generated.
    recipes = "\n".join(house.select("CMakeLists.txt", ".cmake").values())
    for name, text in house.select(".h", ".cc", ".c").items():
        for kind, target in INCLUDE.findall(text):
            if kind != '"' or target.endswith(".skel.h"):
                continue
            beside = str(pathlib.PurePosixPath(name).parent / target)
            if any(root + target in house.files for root in roots) or beside in house.files:
                continue
            if pathlib.PurePosixPath(target).name not in recipes:
                yield f'{name}: "{target}" is no file of ours (foreign headers take <>)'


def rule_public_headers_hide_what_is_behind_them(house):
    for name, text in house.select(".h", under="include/").items():
        for kind, target in INCLUDE.findall(text):
            if FOREIGN.search(target):
                yield f"{name}: shows {target} to everyone who includes it"
            if kind == '"' and not target.startswith("nacelle/"):
                yield f"{name}: {target} is not public"


def rule_headers_are_guarded_and_open_with_a_comment(house):
    for name, text in house.select(".h").items():
        if not text.startswith("// "):
            yield f"{name}: does not open with what it is for"
        if "#pragma once" not in text:
            yield f"{name}: no #pragma once"


def rule_own_header_comes_first(house):
    for name, text in house.select(".cc", under="src/").items():
        own = name.removeprefix("src/").removesuffix(".cc") + ".h"
        if "src/" + own not in house.files:
            continue
        includes = INCLUDE.findall(text)
        if includes and includes[0][1] != own:
            yield f"{name}: includes {includes[0][1]} before its own header"


def rule_slow_headers_stay_out(house):
    for where in ("src/", "include/"):
        for name, text in house.select(".h", ".cc", under=where).items():
            for found in BANNED.finditer(text):
                yield f"{name}: {found.group(0)}"


def rule_nothing_unfinished_is_merged(house):
    word = "FIX" + "ME"
    for name, text in house.select(".h", ".cc", ".c", ".py", ".txt", ".cmake", ".md").items():
        for number, line in enumerate(text.splitlines(), 1):
            if word in line:
                yield f"{name}:{number}: {word}"
            if re.search(r"\bTODO\b(?!\((perf|security|spec)\): )", line) and name.startswith("src/"):
                yield f"{name}:{number}: a TODO says (perf), (security) or (spec)"


def rule_top_level_is_the_plan(house):
    present = {name.split("/")[0] for name in house.files}
    for name in sorted(TOP_LEVEL - present - {"bpf"}):  # bpf comes with the first program
        yield f"{name} is missing at the top"
    for name in sorted(present):
        if not name.startswith(".") and name not in TOP_LEVEL:
            yield f"{name} does not belong at the top"


def rule_no_big_blobs(house):
    for name in house.files:
        size = (house.root / name).stat().st_size
        if size > 512 * 1024:
            yield f"{name}: {size // 1024} KiB"


def rule_scripts_are_sound(house):
    for name, text in house.files.items():
        if text.startswith("#!") and not os.access(house.root / name, os.X_OK):
            yield f"{name}: has a #! line and cannot be executed"
        if text.startswith("#!/usr/bin/env bash"):
            check = subprocess.run(["bash", "-n", house.root / name], capture_output=True, text=True)
            if check.returncode != 0:
                yield f"{name}: {check.stderr.strip()}"


def compile_alone(house, name):
    compiler = shutil.which("clang++-19") or shutil.which("clang++") or "c++"
    done = subprocess.run(
        [compiler, "-std=gnu++23", "-fsyntax-only", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra",
         "-Wno-pragma-once-outside-header", "-I", house.root / "include", "-I", house.root / "src",
         "-I", house.root, "-x", "c++", house.root / name], capture_output=True, text=True)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    return f"{name}: {errors[0] if errors else done.stderr[:200]}"


def proven_by_the_build(house):
    """Headers that some file includes before anything else: that file is compiled anyway."""
    for text in house.select(".cc", under="src/").values():
        first = INCLUDE.search(text)
        if first and first.group(1) == '"':
            yield from (f"src/{first.group(2)}", f"include/{first.group(2)}")


def rule_headers_compile_alone(house):
    proven = set(proven_by_the_build(house))
    names = [name for name in [*house.select(".h", under="src/"), *house.select(".h", under="include/")]
             if name not in proven]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(lambda name: compile_alone(house, name), names))


RULES = {name.removeprefix("rule_"): function for name, function in list(globals().items())
         if name.startswith("rule_")}

# A house that breaks each rule: files to lay down, and what the complaint must mention.
BROKEN = {
    "floors_depend_downwards":
        ({"src/base/CMakeLists.txt": "nacelle_floor(base x.cc DEPENDS sys)"}, "may not stand on sys"),
    "includes_keep_to_the_permission":
        ({"src/sys/CMakeLists.txt": "nacelle_floor(sys x.cc DEPENDS base)",
          "src/codec/y.h": "", "src/sys/x.cc": '#include "codec/y.h"\n'}, "no permission for codec"),
    "quoted_includes_name_a_file_of_ours":
        ({"src/base/x.cc": '#include "nowhere/y.h"\n'}, "nowhere/y.h"),
    "public_headers_hide_what_is_behind_them":
        ({"include/nacelle/x.h": "// X.\n#pragma once\n#include <seccomp.h>\n"}, "seccomp.h"),
    "headers_are_guarded_and_open_with_a_comment": ({"src/base/x.h": "#pragma once\n"}, "open"),
    "own_header_comes_first":
        ({"src/base/x.h": "", "src/base/x.cc": '#include <string>\n#include "base/x.h"\n'},
         "includes string before"),
    "slow_headers_stay_out": ({"src/base/x.cc": "#include <iostream>\n"}, "iostream"),
    "nothing_unfinished_is_merged": ({"src/base/x.cc": "// FIX" + "ME later\n"}, "x.cc:1"),
    "top_level_is_the_plan": ({"notes.txt": ""}, "notes.txt"),
    "no_big_blobs": ({"tests/blob": "x" * 600_000}, "tests/blob"),
    "scripts_are_sound": ({"tools/x": "#!/usr/bin/env bash\nif\n"}, "tools/x"),
    "headers_compile_alone": ({"src/base/x.h": "std::string f();\n"}, "x.h"),
}


def break_each_rule():
    """Each rule finds the house that breaks it: a rule that cannot fail is no rule."""
    for rule, function in RULES.items():
        if rule not in BROKEN:
            yield f"{rule} has no broken house"
            continue
        files, mention = BROKEN[rule]
        with tempfile.TemporaryDirectory() as directory:
            subprocess.run(["git", "init", "-q", directory], check=True)
            for name, text in files.items():
                path = pathlib.Path(directory, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            complaints = list(function(House(directory)))
        if not any(mention in complaint for complaint in complaints):
            yield f"{rule} did not complain about {mention}: {complaints}"


def report(name, complaints):
    complaints = list(complaints)
    if not complaints:
        print(f"ok {name}")
        return True
    for complaint in complaints[1:]:
        print(f"  {complaint}")
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    print(f"not ok {name}: {complaints[0]}{more}")
    return False


def main():
    house = House(REPOSITORY)
    good = [report(f"house {name.replace('_', ' ')}", rule(house)) for name, rule in RULES.items()]
    good.append(report("house every rule can fail", break_each_rule()))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
