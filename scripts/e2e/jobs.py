#!/usr/bin/env python3
"""jobs.py FILE JOB DIR VAR=VALUE..: runs a job of .gitlab-ci.yml or of a GitHub workflow as its runner does.

GitLab: all lines of script: in one shell that ends at the first error. GitHub: each run: step in a shell of its own
(bash -e), in the environment that env: of workflow, job and step make; ${{ secrets.NAME }} and ${{ github.NAME }} are VARs
of the names secrets.NAME and github.NAME. uses: actions/checkout is the workspace DIR, which is there. Anything else that
the file says and this does not know is an error, so that nothing is left out in silence.
"""
import os, re, subprocess, sys

import yaml

file, name, workspace = sys.argv[1:4]
given = dict(a.split("=", 1) for a in sys.argv[4:])
document = yaml.safe_load(open(file))
environment = {k: v for k, v in os.environ.items()} | {k: v for k, v in given.items() if "." not in k}


def fill(value):
    return re.sub(r"\$\{\{ *([a-zA-Z_.]+) *\}\}", lambda m: given[m.group(1)], str(value))


def run(shell, text, env):
    print("+", text.strip().replace("\n", "\n+ "), file=sys.stderr, flush=True)
    code = subprocess.run([*shell, text], cwd=workspace, env=env).returncode
    if code:
        sys.exit(code)


if "jobs" in document:
    job = document["jobs"][name]
    unknown = set(job) - {"if", "runs-on", "environment", "concurrency", "env", "steps"}
    assert not unknown, unknown
    for step in job["steps"]:
        assert set(step) <= {"uses", "run", "env", "name"}, step
        if "uses" in step:
            assert step["uses"].startswith("actions/checkout@"), step
            continue
        assert "${{" not in step["run"], "what others write becomes a command"
        env = environment | {k: fill(v) for part in (document, job, step) for k, v in part.get("env", {}).items()}
        run(["bash", "-e", "-c"], step["run"], env)
else:
    job = document[name]
    unknown = set(job) - {"rules", "script", "artifacts", "resource_group"}
    assert not unknown, unknown
    run(["sh", "-e", "-c"], "\n".join(job["script"]), environment)
    for path in job.get("artifacts", {}).get("paths", []):
        assert os.path.exists(os.path.join(workspace, path)), path
