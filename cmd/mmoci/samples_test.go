package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/rogpeppe/go-internal/testscript"
)

// sample NAME: copies a file or directory of artifacts/samples to here.
func cmdSample(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sample NAME")
	}
	top := filepath.Join(samples, args[0])
	ts.Check(filepath.WalkDir(top, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(filepath.Dir(top), p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(ts.MkAbs(rel), 0o755)
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		return os.WriteFile(ts.MkAbs(rel), data, 0o755)
	}))
}

// samples is where they are, from the directory of the tests.
var samples = func() string {
	dir, err := filepath.Abs("../../artifacts/samples")
	if err != nil {
		panic(err)
	}
	return dir
}()

// job FILE NAME: writes the shell lines of a job of GitLab's (script:), of a
// workflow of GitHub's (run: of its steps) or of a container of a Job of
// Kubernetes (args:) into the file job.sh.
func cmdJob(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: job FILE NAME")
	}
	type job struct {
		Script []string
		Steps  []struct{ Run string }
	}
	data := []byte(ts.ReadFile(args[0]))
	var gitlab map[string]yaml.RawMessage
	ts.Check(yaml.Unmarshal(data, &gitlab))
	var github struct{ Jobs map[string]job }
	ts.Check(yaml.Unmarshal(data, &github))
	j, ok := github.Jobs[args[1]]
	if raw := gitlab[args[1]]; !ok && raw != nil {
		ts.Check(yaml.Unmarshal(raw, &j))
	}
	var kubernetes struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Name string
						Args []string
					}
				}
			}
		}
	}
	ts.Check(yaml.Unmarshal(data, &kubernetes))
	lines := j.Script
	for _, c := range kubernetes.Spec.Template.Spec.Containers {
		if c.Name == args[1] {
			lines = append(lines, c.Args...)
		}
	}
	for _, s := range j.Steps {
		if s.Run != "" {
			lines = append(lines, s.Run)
		}
	}
	if len(lines) == 0 {
		ts.Fatalf("%s: job %s runs nothing", args[0], args[1])
	}
	for _, l := range lines {
		if strings.Contains(l, "${{") {
			ts.Fatalf("%s: %s: what others write becomes a command: %s", args[0], args[1], l)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs("job.sh"), []byte("set -e\n"+strings.Join(lines, "\n")+"\n"), 0o644))
}

// envkey VAR FILE: sets VAR to what FILE holds.
func cmdEnvKey(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: envkey VAR FILE")
	}
	ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
}
