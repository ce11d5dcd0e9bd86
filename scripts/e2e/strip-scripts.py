"""strip-scripts.py DIR DEB..: copies .debs into DIR without their maintainer scripts; data.tar stays byte for byte."""

import io
import lzma
import os
import subprocess
import sys
import tarfile

SCRIPTS = {"preinst", "postinst", "prerm", "postrm", "config"}


def members(path):
    with open(path, "rb") as f:
        assert f.read(8) == b"!<arch>\n", path
        while header := f.read(60):
            size = int(header[48:58])
            yield header[:16].decode().rstrip().rstrip("/"), f.read(size)
            f.read(size & 1)


def unpacked(name, data):
    if name.endswith(".xz"):
        return lzma.decompress(data)
    if name.endswith(".zst"):
        return subprocess.run(["zstd", "-dc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data  # tarfile knows gzip


def control(name, data):
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(unpacked(name, data))) as old, tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as new:
        for m in old:
            if m.name.removeprefix("./") not in SCRIPTS:
                new.addfile(m, old.extractfile(m) if m.isfile() else None)
    return out.getvalue()


def main(target, *debs):
    for deb in debs:
        with open(os.path.join(target, os.path.basename(deb)), "wb") as out:
            out.write(b"!<arch>\n")
            for name, data in members(deb):
                if name.startswith("control.tar"):
                    name, data = "control.tar", control(name, data)
                out.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) & 1))


main(*sys.argv[1:])
