#!/usr/bin/env python3
"""draw.py closures SEED COUNT ESSENTIAL.. | small SEED COUNT: names of packages, drawn by seed, a line each.

Standard input is what apt-cache dumpavail prints. closures: packages that apt-get, of the configuration in APT_CONFIG,
installs together beside Essential; each takes 12 MB at most with what it needs, and none is left out for
another reason. small: packages of at most 60 kB, of as many sources, that need nothing and get into nobody's way; the smallest comes last. A package
more or less in the archive leaves the order of the others as it is.
"""
import hashlib, re, subprocess, sys

kind, seed, count, essential = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:]

packages, provided = {}, {}
for text in sys.stdin.read().split("\n\n"):
    p = dict(re.findall(r"^([A-Za-z-]+): (.*)$", text, re.M))
    if "Package" in p:
        packages[p["Package"]] = p
        for name in re.split(r", *", p.get("Provides", "")):
            provided.setdefault(name.split(" ")[0], p["Package"])


def size(p):
    return int(p.get("Installed-Size", "0"))


def closure(names):
    """About what apt installs: the first alternatives."""
    seen, todo = set(), list(names)
    while todo:
        name = todo.pop()
        name = name if name in packages else provided.get(name)
        if name is None or name in seen:
            continue
        seen.add(name)
        for field in "Depends", "Pre-Depends":
            todo += [re.split(r"[ (:|]", d)[0] for d in re.split(r", *", packages[name].get(field, "")) if d]
    return seen


def together(names):
    words = ["apt-get", "-q", "--assume-no", "--no-install-recommends", "install"]
    out = subprocess.run(words + essential + names, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
    return "newly installed, 0 to remove" in out


def taken(have, more):
    """have and of more what fits beside it."""
    if not more or together(have + more):
        return have + more
    if len(more) == 1:
        return have
    half = len(more) // 2
    return taken(taken(have, more[:half]), more[half:])


order = sorted(packages, key=lambda n: hashlib.sha256(f"{seed} {kind} {n}".encode()).digest())
drawn = []
if kind == "small":
    alone, sources = ("Depends", "Pre-Depends", "Conflicts", "Breaks", "Replaces", "Provides", "Essential"), set()
    for n in order:
        p = packages[n]
        source = p.get("Source", n).split(" ")[0]
        if size(p) <= 60 and source not in sources and not any(f in p for f in alone):
            sources.add(source)
            drawn.append(n)
else:
    there = closure(essential)
    fit = (n for n in order if n not in there and sum(size(packages[c]) for c in closure([n]) - there) <= 12000)
    while len(drawn) < count:
        some = [n for n, _ in zip(fit, range(count - len(drawn)))]
        if not some:
            break
        drawn = taken(drawn, some)
if len(drawn) < count:
    sys.exit(f"draw.py: {len(drawn)} of {count} are to be had")
drawn = drawn[:count]
if kind == "small":
    drawn.append(drawn.pop(drawn.index(min(drawn, key=lambda n: size(packages[n])))))
print("\n".join(drawn))
