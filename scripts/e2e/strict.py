#!/usr/bin/env python3
"""strict.py versions SEED N              N strings that look like versions, each in a line
strict.py debs SEED N DIR              N .debs with odd control archives into DIR
strict.py inreleases SEED N FILE DIR   N InReleases into DIR, made of a good one by small changes of its framing
strict.py sources DIR KEYRING          sources.list lines for the InReleases in DIR, each laid out as an archive

What is made depends on SEED alone.
"""
import os, random, sys

CONTROL = b"Package: odd\nVersion: 1.0-1\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\nDescription: a package for a test\n"
EVIL = CONTROL.replace(b"1.0-1", b"6.6-6")


def versions(r, n):
    alphabet = [chr(c) for c in range(33, 127)] + ["é", " ", "\t"]
    for _ in range(n):
        v = str(r.randrange(10)) + "".join(r.choice("0123456789abzAZ.+~:-") for _ in range(r.randrange(8)))
        if r.random() < 0.6:
            at = r.randrange(len(v) + 1)
            v = v[:at] + r.choice(alphabet) + v[at:]
        print(v.strip() or "1")  # blanks around are not asked about: a field has none


def entry(name, body=b"", kind=b"0", magic=b"ustar  \0", prefix=b"", size=None):
    h = bytearray(512)
    for at, what in ((0, name), (100, b"0000644\0000000000\0000000000\0"), (124, size or b"%011o" % len(body)), (136, b"00000000000\0"), (156, kind), (257, magic), (345, prefix)):
        h[at : at + len(what)] = what
    h[148:156] = b" " * 8
    h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h) + body + b"\0" * (-len(body) % 512)


def record(key, value):
    n = len(key) + len(value) + 3
    while len(str(n)) + len(key) + len(value) + 3 != n:
        n += 1
    return b"%d %s=%s\n" % (n, key, value)


def odd_tar(r):
    """A control.tar of a few entries, mostly odd ones."""
    harmless = [(b"mtime", b"1700000000.5"), (b"uname", b"root"), (b"comment", b"x"), (b"SCHILY.dev", b"1")]
    harmful = [(b"path", b"./control"), (b"path", b"control"), (b"path", b"./x"), (b"size", b"%d" % len(EVIL)), (b"linkpath", b"control"),
               (b"GNU.sparse.name", b"./control"), (b"GNU.sparse.major", b"1"), (b"GNU.sparse.size", b"5")]
    names = [b"./postinst", b"./md5sums", b"other", b"./x/control", b"././control", b".//control", b"/control", b"./control/", b"", b"./control\0x", b"CONTROL"]
    out = [entry(b"./", kind=b"5")] if r.random() < 0.8 else []
    entries = [lambda: entry(r.choice([b"./control", b"control"]), CONTROL, magic=r.choice([b"ustar  \0", b"ustar\00000", b""]), kind=r.choice([b"0", b"\0"]))]
    for _ in range(r.randrange(4)):
        what = r.randrange(8)
        if what == 0:
            entries.append(lambda: entry(r.choice(names), EVIL))
        elif what == 1:
            entries.append(lambda: entry(b"PaxHeaders/x", b"".join(record(*r.choice(harmless)) for _ in range(r.randrange(1, 4))), kind=r.choice([b"x", b"g"]), magic=b"ustar\00000"))
        elif what == 2:
            entries.append(lambda: entry(b"PaxHeaders/x", record(*r.choice(harmful)), kind=r.choice([b"x", b"g"]), magic=b"ustar\00000") + entry(b"./other", EVIL))
        elif what == 3:
            entries.append(lambda: entry(b"././@LongLink", r.choice([b"./control\0", b"control\0", b"./y\0"]), kind=r.choice([b"L", b"K"])) + entry(b"./other", EVIL))
        elif what == 4:
            entries.append(lambda: entry(r.choice([b"./control", b"./x"]), kind=r.choice([b"1", b"2", b"3", b"4", b"6", b"7", b"S", b"D", b"M", b"V"])))
        elif what == 5:
            entries.append(lambda: entry(b"control", EVIL, magic=b"ustar\00000", prefix=r.choice([b".", b"x", b"14531"])))
        elif what == 6:
            entries.append(lambda: entry(b"./control", EVIL))
        else:
            entries.append(lambda: b"\0" * 512 + (entry(b"./control", EVIL) if r.random() < 0.5 else b""))
    r.shuffle(entries)
    for e in entries:
        out.append(e())
    data = bytearray(b"".join(out) + b"\0" * 1024)
    if r.random() < 0.2:
        data[r.randrange(min(len(data), 512))] ^= 1 << r.randrange(8)
    return bytes(data)


def ar(members):
    out = b"!<arch>\n"
    for name, data in members:
        out += b"%-16s%-12d%-6d%-6d%-8o%-10d`\n" % (name, 0, 0, 0, 0o100644, len(data)) + data + b"\n" * (len(data) % 2)
    return out


def debs(r, n, to):
    data = entry(b"./", kind=b"5") + b"\0" * 1024
    for i in range(n):
        with open(f"{to}/odd{i:04}.deb", "wb") as f:
            f.write(ar([(b"debian-binary", b"2.0\n"), (b"control.tar", odd_tar(r)), (b"data.tar", data)]))


def inreleases(r, n, good, to):
    good = open(good, "rb").read()
    signature = good[good.index(b"-----BEGIN PGP SIGNATURE") :]
    ends = [b"\n", b" ", b"\r", b"\t", b"\v", b"\f", b"\0", b"x", b"\r\n", b" \n", b"\n\n", b"-----BEGIN PGP SIGNATURE-----\n", b"Origin: evil\n", signature, b"\n" + signature]
    for i in range(n):
        lines = good.split(b"\n")
        for _ in range(r.choice([0, 1, 1, 1, 2])):
            at = r.randrange(len(lines))
            line = lines[at]
            lines[at] = r.choice([
                line + r.choice([b"\r", b" ", b"\t", b"\v", b"\f", b"\r ", b" \r", b"\0", b"-"]),
                r.choice([b" ", b"\t", b"- ", b"-", b"\r"]) + line,
                line[: len(line) // 2] + r.choice([b"\r", b"\n", b"\0", b" "]) + line[len(line) // 2 :],
                line + b"\n" + r.choice([b"", b" ", b"Origin: evil", b"-----BEGIN PGP SIGNATURE-----", b"-----END PGP SIGNATURE-----"]),
            ])
        data = b"\n".join(lines)
        if r.random() < 0.4:
            data = r.choice([data, data[:-1]]) + r.choice(ends)
        elif r.random() < 0.2:
            data = r.choice(ends) + data
        with open(f"{to}/{i:04}", "wb") as f:
            f.write(good if i == 0 else data)


def sources(d, keyring):
    for name in sorted(os.listdir(d)):
        at = f"{d}.tree/{name}"
        os.makedirs(f"{at}/dists/odd/main/binary-all", exist_ok=True)
        open(f"{at}/dists/odd/main/binary-all/Packages", "w").close()
        os.replace(f"{d}/{name}", f"{at}/dists/odd/InRelease")
        print(f"deb [arch=all signed-by={keyring} target=Packages lang=none] copy:{at} odd main")


what, args = sys.argv[1], sys.argv[2:]
if what == "sources":
    sources(*args)
else:
    r = random.Random(int(args[0]))
    {"versions": versions, "debs": debs, "inreleases": inreleases}[what](r, int(args[1]), *args[2:])
