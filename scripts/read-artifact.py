#!/usr/bin/env python3
"""read-artifact.py LAYOUT TAG|sha256:HEX

Lists prefix, path, size and digest of every file of a snapshot in an OCI layout, separated by tabs. Written from
artifacts/SPEC.md (sections 5 and 7) alone, with nothing but the standard library. It verifies digests, no signature.
"""
import hashlib, json, os, sys

EMPTY = hashlib.sha256(b"").hexdigest()


def blob(layout, digest, size=None):
    data = open(os.path.join(layout, "blobs", "sha256", digest.removeprefix("sha256:")), "rb").read()
    if "sha256:" + hashlib.sha256(data).hexdigest() != digest or size not in (None, len(data)):
        sys.exit(f"{digest}: other bytes")
    return data


def root(layout, name):
    if name.startswith("sha256:"):
        return name
    for m in json.load(open(os.path.join(layout, "index.json")))["manifests"]:
        if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == name:
            return m["digest"]
    sys.exit(f"{layout}: no tag {name}")


def varint(b, i):
    value = shift = 0
    while True:
        value |= (b[i] & 0x7F) << shift
        i, shift = i + 1, shift + 7
        if b[i - 1] < 0x80:
            return value, i


def rows(t):
    """path, size, digest of each row of a table."""
    assert t[:16] == b"mmoci-table-v1\n\0" and t[-4:] == b"mmot", "not a table"
    count, blocks, index = (int.from_bytes(t[-16 + 4 * k : -12 + 4 * k], "little") for k in range(3))
    starts = {int.from_bytes(t[index + 4 * k : index + 4 * k + 4], "little") for k in range(blocks)}
    i, path = 16, b""
    for _ in range(count):
        if i in starts:
            path = b""
        shared, i = varint(t, i)
        n, i = varint(t, i)
        path, i = path[:shared] + t[i : i + n], i + n
        size, i = varint(t, i)
        digest, i = (t[i : i + 32].hex(), i + 32) if size else (EMPTY, i)
        kind, i = t[i], i + 1
        if kind & 1:  # a package: what the path does not say follows
            for given in (kind & 2, kind & 4, kind & 8, kind & 48):
                if not given:
                    n, i = varint(t, i)
                    i += n
        yield path.decode(), size, "sha256:" + digest
    assert i == index, "rows and index do not meet"


layout, name = sys.argv[1:]
core = json.loads(blob(layout, root(layout, name)))["manifests"][0]
core = json.loads(blob(layout, core["digest"], core["size"]))
table = next(l for l in core["layers"] if l["mediaType"] == "application/vnd.mmoci.table.v1")
for path, size, digest in rows(blob(layout, table["digest"], table["size"])):
    print(path.removeprefix("upstream/").split("/")[0], path, size, digest, sep="\t")
