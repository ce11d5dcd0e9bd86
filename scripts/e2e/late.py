#!/usr/bin/env python3
"""late.py DIR LISTS ARCHITECTURE SEED COUNT

Draws COUNT packages from apt's indices in LISTS, every second one from the security suite, and makes DIR/late, an archive
of later versions of some of them: backports (NotAutomatic, ButAutomaticUpgrades) and experimental (NotAutomatic), whose
Releases are still to be signed. Writes the names to roots.txt (all), secure.txt (those of the security suite) and
late.txt (those of which there are late versions).
"""
import glob, hashlib, os, random, sys

target, lists, architecture, seed, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])


def stanzas(path):
    with open(path, encoding="utf-8") as f:
        for text in f.read().split("\n\n"):
            if text.strip():
                yield text.strip("\n")


def field(stanza, name):
    for line in stanza.split("\n"):
        if line.startswith(name + ": "):
            return line[len(name) + 2:]
    return ""


rng = random.Random(seed)
by_name, secure = {}, set()
for path in sorted(glob.glob(lists + "/*_main_binary-*_Packages")):
    for s in stanzas(path):
        by_name[field(s, "Package")] = s
        if "security" in path:
            secure.add(field(s, "Package"))
drawn = rng.sample(sorted(secure), min(count // 2, len(secure)))
drawn += rng.sample(sorted(set(by_name) - set(drawn)), count - len(drawn))


def changed(stanza, name, version):
    """A stanza with another name and version, that depends on nothing."""
    out, keep = [], True
    for line in stanza.split("\n"):
        if not line.startswith(" "):
            keep = line.split(":")[0] in ("Architecture", "Maintainer", "Section", "Priority", "Size", "SHA256", "Description")
        if keep:
            out.append(line)
    return "\n".join([f"Package: {name}", f"Version: {version}"] + out + [f"Filename: pool/main/late/{name}_{version.replace(':', '%3a')}.deb"])


both = rng.sample(drawn, 20)
suites = {"backports": [], "experimental": []}
for name in both:
    v = field(by_name[name], "Version")
    suites["backports"].append(changed(by_name[name], name, v + "+late1"))
    suites["experimental"].append(changed(by_name[name], name, v + "+late2"))
only = [f"only-late-{i}" for i in range(10)]
for i, name in enumerate(only):
    if i % 2 == 0:
        suites["backports"].append(changed(by_name[drawn[i]], name, f"1.{i}+late1"))
    suites["experimental"].append(changed(by_name[drawn[i]], name, f"1.{i}+late2"))
for suite, packages in suites.items():
    index = ("\n\n".join(packages) + "\n").encode()
    path = f"main/binary-{architecture}/Packages"
    top = f"{target}/late/dists/{suite}"
    os.makedirs(os.path.dirname(f"{top}/{path}"))
    with open(f"{top}/{path}", "wb") as f:
        f.write(index)
    with open(f"{top}/Release", "w") as f:
        f.write(f"Origin: Late\nLabel: Late\nSuite: {suite}\nCodename: {suite}\nDate: Sat, 10 Jan 2026 08:00:00 UTC\nNotAutomatic: yes\n")
        if suite == "backports":
            f.write("ButAutomaticUpgrades: yes\n")
        f.write(f"Architectures: {architecture}\nComponents: main\nSHA256:\n {hashlib.sha256(index).hexdigest()} {len(index)} {path}\n")
for file, names in {"roots.txt": drawn + only, "secure.txt": secure, "late.txt": both + only}.items():
    with open(f"{target}/{file}", "w") as f:
        f.write("".join(n + "\n" for n in sorted(names)))
