"""tree.py A B: prints in what two trees differ, one path a line: existence, type, mode, owner, link target, links, content.

What is printed of a path begins with its kind: missing (in A), more (than B has), type, mode, owner, target, links, content."""

import hashlib
import os
import stat
import sys


def walk(root):
    root = os.fsencode(root)
    inodes, out = {}, {}
    for top, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(top, name)
            s = os.lstat(path)
            rel = path[len(root) + 1:]
            kind = stat.S_IFMT(s.st_mode)
            content = target = b""
            if stat.S_ISLNK(s.st_mode):
                target = os.readlink(path)
            elif stat.S_ISREG(s.st_mode):
                with open(path, "rb") as f:
                    content = hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read()).hexdigest()
            if not stat.S_ISDIR(s.st_mode):
                inodes.setdefault((s.st_dev, s.st_ino), []).append(rel)
            out[rel] = {"type": kind, "mode": 0 if stat.S_ISLNK(s.st_mode) else stat.S_IMODE(s.st_mode), "owner": (s.st_uid, s.st_gid), "target": target, "content": content, "links": ()}
    for names in inodes.values():
        for name in names:
            out[name]["links"] = tuple(sorted(names))
    return out


def main(a, b):
    a, b = walk(a), walk(b)
    for path in sorted(a.keys() | b.keys()):
        name = os.fsdecode(path)
        if path not in a:
            print("missing", name)
        elif path not in b:
            print("more", name)
        else:
            for key in a[path]:
                if a[path][key] != b[path][key]:
                    print(key, name, *(oct(x[path][key]) if key in ("mode", "type") else x[path][key] for x in (a, b)))


main(*sys.argv[1:])
