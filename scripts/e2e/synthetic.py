#!/usr/bin/env python3
"""synthetic.py DIR ARCHITECTURE DAY [COUNT [SIZE]]

Makes DIR hold COUNT small .debs of SIZE bytes or so, and no others, as they are on DAY (a number): each day the version of
every fifth is another. What a name and a version hold is always the same bytes.
"""
import gzip, io, os, random, sys, tarfile


def tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as t:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            info.mode = 0o644
            t.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)


def deb(name, version, architecture, size):
    control = f"""Package: {name}
Version: {version}
Architecture: {architecture}
Maintainer: Nobody <nobody@example.org>
Description: a package for a test
"""
    log = f"{name} ({version}) stable; urgency=medium\n\n  * A day like others.\n\n -- Nobody <nobody@example.org>  Thu, 01 Jan 2026 00:00:00 +0000\n"
    data = random.Random(name + version).randbytes(size)
    members = [
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", tar([("./control", control.encode())])),
        ("data.tar.gz", tar([(f"./usr/share/doc/{name}/changelog.Debian.gz", gzip.compress(log.encode(), mtime=0)),
                             (f"./usr/share/{name}/data", data)])),
    ]
    out = b"!<arch>\n"
    for member, content in members:
        out += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (member.encode(), 0, 0, 0, b"100644", len(content)) + content + b"\n" * (len(content) % 2)
    return out


def version_on(i, day):
    """The version of package i on a day: it changes on every fifth, i % 5 being its weekday."""
    return f"1.{(day - i % 5 + 5) // 5}"


def main():
    target, architecture, day = sys.argv[1], sys.argv[2], int(sys.argv[3])
    count = int(sys.argv[4]) if len(sys.argv) > 4 else 100
    size = int(sys.argv[5]) if len(sys.argv) > 5 else 4000
    os.makedirs(target, exist_ok=True)
    wanted = {}
    for i in range(count):
        name, version = f"package{i:03d}", version_on(i, day)
        wanted[f"{name}_{version}_{architecture}.deb"] = (name, version)
    for old in set(os.listdir(target)) - set(wanted):
        os.remove(os.path.join(target, old))
    for file, (name, version) in wanted.items():
        path = os.path.join(target, file)
        if not os.path.exists(path):
            with open(path, "wb") as f:
                f.write(deb(name, version, architecture, size))


if __name__ == "__main__":
    main()
