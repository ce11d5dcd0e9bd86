"""odd-packages.py DIR SEED: builds a few small packages that get into each other's way, with dpkg-deb, and prints
their files in the order in which they are to be unpacked."""

import os
import random
import subprocess
import sys

DIRS = ["usr/a", "usr/b", "usr/c", "usr/a/d", "usr/b/d"]
FILES = ["usr/a/f", "usr/b/f", "usr/c/f", "usr/a/d/g", "usr/b/d/g", "lib/f", "usr/lib/f", "bin/tool", "etc/conf", "etc/a/conf"]
LINKS = ["usr/a", "usr/b", "usr/c", "usr/a/f", "usr/a/d", "lib/f", "usr/lib/g"]
TARGETS = ["b", "../usr/b", "c", "../usr/c", "d", "f", "nowhere", "a"]  # none absolute: dpkg --root would follow it out of the root
TRIGGERS = ["interest ping", "interest-noawait ping", "interest-await pong", "interest /usr/a", "interest-noawait /usr/b", "activate ping", "activate-noawait pong"]
FIELDS = [
    "Essential: yes", "Essential: no", "Protected: yes", "Priority: REQUIRED", "Priority: odd", "Section: misc", "Installed-Size: 12", "Origin: Test",
    "Bugs: https://bugs.example.org/", "Multi-Arch: same", "Multi-Arch: foreign", "Multi-Arch: allowed", "Multi-Arch: no", "Source: other (0:2-1)",
    "Provides: virtual (= 1:0), another", "Depends: x1(>=0:1)|x2 , x3 (<< 1:2:3)", "Pre-Depends: x4 (=0:5-1)", "Recommends: X5, x6:any (>= 1)", "Suggests: x7,x8 ,\n x9",
    "Breaks: x10 (<< 1)", "Conflicts: x11", "Enhances: x12", "Homepage: https://example.org/", "X-Odd: of\n several\n lines", "Tag: a::b,\n c::d", "Built-Using: y (= 1)",
    "Python-Version: 3", "original-maintainer: Somebody <x@example.org>",
]


def build(rnd, top, name, others):
    root = os.path.join(top, name)
    taken = set()

    def free(path):
        parts = path.split("/")
        return path not in taken and not any("/".join(parts[:i]) in links for i in range(1, len(parts)))

    links = set()
    os.makedirs(os.path.join(root, "usr/own"))
    with open(os.path.join(root, "usr/own", name), "w") as f:
        f.write(name)
    for path in rnd.sample(LINKS, rnd.choice([0, 0, 0, 1, 2])):
        at = os.path.join(root, path)
        if os.path.lexists(at) or not free(path):
            continue
        os.makedirs(os.path.dirname(at), exist_ok=True)
        os.symlink(rnd.choice(TARGETS), at)
        links.add(path)
    for path in rnd.sample(DIRS, rnd.randrange(3)):
        if free(path) and path not in links:
            os.makedirs(os.path.join(root, path), exist_ok=True)
    files = []
    for path in rnd.sample(FILES, rnd.randrange(1, 4)):
        at = os.path.join(root, path)
        if path in links or not free(path) or os.path.lexists(at):
            continue
        if {"lib/f": "usr/lib/f", "usr/lib/f": "lib/f"}.get(path) in files + list(links):
            continue  # one file of a merged /usr: refused, and dpkg overwrites it with itself
        os.makedirs(os.path.dirname(at), exist_ok=True)
        with open(at, "w") as f:
            f.write(rnd.choice(["same", name]))
        os.chmod(at, rnd.choice([0o644, 0o755, 0o4755, 0o600]))
        os.chown(at, rnd.choice([0, 0, 3]), rnd.choice([0, 8]))
        files.append(path)
    if rnd.random() < 0.3:
        os.link(os.path.join(root, "usr/own", name), os.path.join(root, "usr/own", name + ".link"))
    for where, dirs, _ in os.walk(root):
        for d in dirs:
            at = os.path.join(where, d)
            if not os.path.islink(at) and rnd.random() < 0.3:
                os.chmod(at, rnd.choice([0o700, 0o2775, 0o1777]))
                os.chown(at, rnd.choice([0, 4]), rnd.choice([0, 9]))
    os.makedirs(os.path.join(root, "DEBIAN"))
    fields = {}
    for f in rnd.sample(FIELDS, rnd.randrange(8)):
        fields[f.split(":")[0]] = f
    lines = list(fields.values())
    replaces = [o + rnd.choice(["", "", " (<< 2)", " (>= 2)"]) for o in others if rnd.random() < 0.8]
    if replaces:
        lines.append("Replaces: " + ", ".join(replaces))
    lines += ["Architecture: amd64", "Maintainer: Test <test@example.org>"]
    rnd.shuffle(lines)
    with open(os.path.join(root, "DEBIAN/control"), "w") as f:
        f.write("\n".join([f"Package: {name}", f"Version: {rnd.choice(['1.0', '0:1.0', '1:1-1'])}"] + lines + ["Description: odd \n of a test\n .\n  end"]) + "\n")
    conffiles = [p for p in files if p.startswith("etc/")]  # as policy has it: else dpkg asks
    if conffiles:
        with open(os.path.join(root, "DEBIAN/conffiles"), "w") as f:
            f.write("".join(f"/{p}\n" for p in conffiles))
    triggers = rnd.sample(TRIGGERS, rnd.choice([0, 0, 1, 2]))
    if triggers:
        with open(os.path.join(root, "DEBIAN/triggers"), "w") as f:
            f.write("# odd\n" + "\n".join(triggers) + "\n")
    out = os.path.join(top, name + ".deb")
    subprocess.run(["dpkg-deb", "--nocheck", "-Zgzip", "-z1", "-b", root, out], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out


def main(top, seed):
    rnd = random.Random(int(seed))
    names = [f"odd{i}" for i in range(rnd.randrange(2, 6))]
    debs = [build(rnd, top, n, [o for o in names if o != n]) for n in names]
    rnd.shuffle(debs)
    print("\n".join(debs))


main(*sys.argv[1:])
