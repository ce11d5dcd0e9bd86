"""Faults of mirrors for 95-front-faults.sh, in its working directory, as a seed says.

front-faults.py SEED SECONDS NET MIRROR..   wrongs some blobs of each tree-MIRROR, and then for SECONDS kills and starts nginx,
                                            unplugs the namespace NET-MIRROR, stops and continues the line, takes blobs away
                                            and brings them back. Each fault is a line {"mirror", "fault", "from", "to"}
                                            (Unix times).
front-faults.py judge LOG FAULTS ACCESS MIRROR..
                                            fails if a fault was not named by the front in LOG, or a client had wrong
                                            bytes; prints a table of faults, and how many bytes came from where.
"""

import glob
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import datetime


KINDS = ["dead", "gone", "slow", "missing"]  # killed, unplugged, stalled, without some blobs


def say(mirror, fault, begin, end, **more):
    print(json.dumps({"mirror": mirror, "fault": fault, "from": begin, "to": end, **more}), flush=True)


def pool():
    """The blobs of packages, which clients ask for, sorted."""
    blobs = {os.stat(b).st_ino: os.path.basename(b) for b in glob.glob("tree/blobs/sha256/*")}
    debs = glob.glob("tree/apt/*/debian*/pool/**/*.deb", recursive=True)
    return sorted({blobs[os.stat(d).st_ino] for d in debs})


def pid_of(name):
    return int(open(name + ".pid").read())


def nginx(net, mirror):
    p = subprocess.Popen(["ip", "netns", "exec", net + "-" + mirror, "nginx", "-e", mirror + ".error", "-c", os.path.abspath(mirror + ".conf")],
                         stderr=subprocess.DEVNULL)
    with open("pids", "a") as f:
        f.write("%d\n" % p.pid)
    with open(mirror + ".pid", "w") as f:
        f.write(str(p.pid))


def plug(net, mirror, state):
    subprocess.run(["ip", "-n", net + "-" + mirror, "link", "set", "eth0", state], check=True)


def asked(mirror):
    """Tells whether a host was sent to a mirror."""
    return any("mmoci-front" not in line and "/blobs/" in line for line in open(mirror + ".access", errors="replace"))


def faults(seed, seconds, net, mirrors):
    draw = random.Random(seed)
    blobs = pool()
    for m in mirrors:
        for b in draw.sample(blobs, max(1, len(blobs) // 6)):
            path = "tree-%s/blobs/sha256/%s" % (m, b)
            data = bytearray(open(path, "rb").read())
            data[draw.randrange(len(data))] ^= 0x55
            os.unlink(path)  # it is a link of the good tree's
            open(path, "wb").write(data)
            say(m, "wrong", 0, 0, blob=b)
    begun = time.time()
    while not all(asked(m) for m in mirrors) and time.time() < begun + 60:
        time.sleep(0.2)  # a mirror that nobody uses is not looked at
    end = time.time() + seconds
    undo = []  # (time, function)
    busy = {}  # mirror: until
    kinds = []
    while time.time() < end or undo:
        now = time.time()
        for at, f in [u for u in undo if u[0] <= now]:
            f()
            undo.remove((at, f))
        free = [m for m in mirrors if busy.get(m, 0) <= now]
        if free and now < end - 8:
            if not kinds:
                kinds = draw.sample(KINDS, len(KINDS))
            m, kind = draw.choice(free), kinds.pop()
            if kind == "dead":
                master = pid_of(m)
                workers = open("/proc/%d/task/%d/children" % (master, master)).read().split()
                for p in [master] + [int(w) for w in workers]:
                    os.kill(p, signal.SIGKILL)
                until, back = now + 5, lambda m=m: nginx(net, m)
            elif kind == "gone":
                plug(net, m, "down")
                until, back = now + 9, lambda m=m: plug(net, m, "up")
            elif kind == "slow":
                p = pid_of("line-" + m)
                os.kill(p, signal.SIGSTOP)
                until, back = now + 8, lambda p=p: os.kill(p, signal.SIGCONT)
            else:
                taken = ["tree-%s/blobs/sha256/%s" % (m, b) for b in draw.sample(blobs, len(blobs) // 3)]
                taken = [t for t in taken if os.path.exists(t)]
                for t in taken:
                    os.rename(t, t + ".away")
                until, back = now + 6, lambda taken=taken: [os.rename(t + ".away", t) for t in taken]
            undo.append((until, back))
            busy[m] = until + 3
            say(m, kind, now, until)
        time.sleep(draw.uniform(0.5, 1.5) if now < end else 0.2)


def judge(log, plan, access, mirrors):
    events = []
    for line in open(log):
        e = json.loads(line)
        e["at"] = datetime.fromisoformat(e["time"].replace("Z", "+00:00")[:26] + "+00:00").timestamp()
        events.append(e)
    out = {m: [] for m in mirrors}  # [from, to, word] of when each was left
    named = set()
    for e in events:
        if e["msg"] == "mirror left":
            out[e["mirror"]].append([e["at"], float("inf"), e["fault"]])
        if e["msg"] == "mirror back":
            out[e["mirror"]][-1][1] = e["at"]
        if "fault" in e:
            named.add((e["mirror"], e["fault"], e.get("digest", "")[7:]))
    had, bad = {}, []
    for m in mirrors:
        had[m] = 0
        for line in open(m + ".access", errors="replace"):
            f = line.split()
            if "mmoci-front" in line or f[0] not in ("200", "206") or "/blobs/" not in line:
                continue
            had[m] += int(f[1])
            bad.append((m, f[3].rsplit("/", 1)[-1]))
    planned, seen = Counter(), {}  # how many of a kind, and by which words
    lies = 0
    for line in open(plan):
        f = json.loads(line)
        m, kind = f["mirror"], f["fault"]
        planned[kind] += 1
        if kind == "wrong":
            assert (m, f["blob"]) not in bad, "a client had wrong bytes of %s: %s" % (m, f["blob"])
            lies += (m, "wrong", f["blob"]) in named
        elif kind != "missing":
            when = [w for a, b, w in out[m] if a < f["to"] + 1 and b > f["from"]]
            assert when, "not noticed: %s" % line
            seen.setdefault(kind, Counter()).update(when[:1])
    assert lies > 0, "no lie was noticed"
    for m in mirrors:
        away = sum(1 for line in open(m + ".access", errors="replace") if line.startswith("404 ") and "mmoci-front" not in line)
        told = sum(1 for n in named if n[0] == m and n[1] == "missing")
        assert away < 10 or told, "%s lacked blobs %d times, and was not named" % (m, away)
        planned["404"] += away
    own = 0
    for line in open(access):
        e = json.loads(line)
        if "/pool/" in e["path"]:
            own += e["bytes"]
    total = own + sum(had.values())
    done = [line for d in glob.glob("client-*.done") for line in open(d)]
    for kind, what in [("dead", "killed"), ("gone", "unplugged"), ("slow", "stalled")]:
        print("%s: %d times, each left by the front; as %s" % (what, planned[kind], ", ".join("%s %d" % w for w in sorted(seen.get(kind, {}).items())) or "-"))
    print("behind: %d times, %d answers 404 to hosts; named: %s" % (
        planned["missing"], planned["404"], ", ".join("%s %d" % (m, sum(1 for n in named if n[0] == m and n[1] == "missing")) for m in mirrors)))
    print("wrong bytes: %d blobs, %d of them found and named, none sent to a host" % (planned["wrong"], lies))
    again = sum(1 for line in done if line.endswith(" again\n"))
    print("%d installs by %d hosts, %d at the second go; of %.1f MB of packages the front sent %.1f %%, mirrors %s" % (
        len(done), len(set(line.split()[0] for line in done)), again, total / 1e6, 100 * own / total, ", ".join("%s %.1f %%" % (m, 100 * had[m] / total) for m in mirrors)))


if sys.argv[1] == "judge":
    judge(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
else:
    faults(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
