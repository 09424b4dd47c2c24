"""Checks the tables of normative statements against the claims, and prints the share that is covered.

statements-3.1.1.tsv and statements-5.0.tsv list every tag of the two OASIS Standards (3.1.1: 29 October
2014, 5.0: 7 March 2019; drafts have other numbers) with the side that it binds and a paraphrase. The
last column names the claims that show it; it is written by --write from the claims themselves, and
this check fails when the two disagree, when a statement that binds a server has no test, when a test
names a tag that does not exist, when the number of tags is not the standard's, or when the suite does
not run a module of claims.
"""

import glob
import importlib
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TABLES = {4: ("statements-3.1.1.tsv", 141), 5: ("statements-5.0.tsv", 251)}
HEAD = ["statement", "binds", "what it says", "shown by"]


def claims():
    """{version: {tag: [module.Class.claim]}}"""
    from case import Case
    found = {4: {}, 5: {}}
    for path in sorted(glob.glob(os.path.join(HERE, "claims_*.py"))):
        name = os.path.basename(path)[:-3]
        module = importlib.import_module(name)
        for kind in vars(module).values():
            if not isinstance(kind, type) or not issubclass(kind, Case) or kind is Case:
                continue
            for claim in vars(kind).values():
                for version, tags in getattr(claim, "statements", {}).items():
                    for tag in tags:
                        found[version].setdefault(f"MQTT-{tag}", []).append(
                            f"{name[len('claims_'):]}.{kind.__name__}.{claim.__name__}")
    return found


def read(path):
    with open(path, encoding="utf-8") as file:
        head, *rows = [line.rstrip("\n").split("\t") for line in file]
    if head != HEAD:
        raise SystemExit(f"{path}: the columns are {HEAD}")
    return rows


def main():
    sys.path.insert(0, HERE)
    found = claims()
    faults, covered, binding = [], 0, 0
    with open(os.path.join(HERE, "CMakeLists.txt")) as file:
        run = re.search(r"foreach\(name ([^)]*)\)", file.read())[1].split()
    for path in glob.glob(os.path.join(HERE, "claims_*.py")):
        name = os.path.basename(path)[len("claims_"):-3]
        if name not in run:
            faults.append(f"claims_{name}.py: the suite does not run it")
    for version, (name, count) in TABLES.items():
        path = os.path.join(HERE, name)
        rows = read(path)
        known = [row[0] for row in rows]
        if len(known) != count or len(set(known)) != count:
            faults.append(f"{name}: {len(set(known))} tags, the standard has {count}")
        for tag in sorted(set(found[version]) - set(known)):
            faults.append(f"{name}: no statement {tag}, but {found[version][tag]}")
        for row in rows:
            shown = ", ".join(found[version].get(row[0], []))
            if row[1] not in ("server", "client", "both", "neither"):
                faults.append(f"{name}: {row[0]} binds {row[1]!r}")
            if row[1] in ("server", "both"):
                binding += 1
                covered += bool(shown)
                if not shown:
                    faults.append(f"{name}: no test shows {row[0]}: {row[2]}")
            if "--write" in sys.argv:
                row[3:] = [shown]
            elif row[3] != shown:
                faults.append(f"{name}: {row[0]} is shown by {shown!r}, the table says {row[3]!r}; "
                              "run coverage.py --write")
        if "--write" in sys.argv:
            with open(path, "w", encoding="utf-8") as file:
                file.writelines("\t".join(row) + "\n" for row in [HEAD, *rows])
        server = [row for row in rows if row[1] in ("server", "both")]
        print(f"{name}: {len(rows)} statements, {len(server)} bind a server, "
              f"{sum(bool(found[version].get(row[0])) for row in server)} of these are shown")
    for fault in faults:
        print(fault)
    print(f"covered: {100 * covered / binding:.1f} % of {binding} server statements")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
