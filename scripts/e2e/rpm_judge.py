"""rpm_judge.py DIR..: whether RPM repositories are whole, by Python's own readers of XML and digests.

A line for each: the directory, how many packages, and "whole", "lacks N" files, or "wrong PATH", a file with other bytes.
"""
import bz2
import gzip
import hashlib
import lzma
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

UNPACK = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress,
          ".zst": lambda d: subprocess.run(["zstd", "-dcq"], input=d, stdout=subprocess.PIPE, check=True).stdout}


def plain(tag):
    return tag.split("}")[-1]


def judge(top):
    lacks, wrong, packages = [], [], 0

    def check(e, size):
        c = {plain(x.tag): x for x in e}
        path = c["location"].attrib["href"]
        file = os.path.join(top, path)
        if not os.path.exists(file):
            lacks.append(path)
            return None
        with open(file, "rb") as f:
            data = f.read()
        kind = {"sha": "sha1"}.get(c["checksum"].attrib["type"], c["checksum"].attrib["type"])
        size = size(c)
        if hashlib.new(kind, data).hexdigest() != c["checksum"].text.strip() or size is not None and int(size) != len(data):
            wrong.append(path)
        return UNPACK.get(os.path.splitext(path)[1], lambda d: d)(data) if e.attrib.get("type") == "primary" else None

    primary = None
    for e in ET.parse(os.path.join(top, "repodata/repomd.xml")).getroot():
        if plain(e.tag) == "data":
            primary = check(e, lambda c: c["size"].text if "size" in c else None) or primary
    for e in ET.fromstring(primary):
        packages += 1
        check(e, lambda c: c["size"].attrib.get("package") if "size" in c else None)
    verdict = "wrong " + wrong[0] if wrong else "lacks %d" % len(set(lacks)) if lacks else "whole"
    print(top, packages, verdict)


for d in sys.argv[1:]:
    judge(d)
