package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"example.org/mmoci/pkg/resolve"
)

// apt is an apt of its own: own sources, lists, caches and status.
type apt struct {
	dir, arch string
	status    []byte
	config    string
}

func newApt(work, arch string, status []byte, indices []string) (*apt, error) {
	a := &apt{dir: filepath.Join(work, "apt"), arch: arch, status: status}
	var sources strings.Builder
	for i, f := range indices {
		dir := filepath.Join(work, "source", fmt.Sprint(i))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		if err := os.Rename(f, filepath.Join(dir, "Packages")); err != nil {
			return nil, err
		}
		fmt.Fprintf(&sources, "deb [trusted=yes] file:%s ./\n", dir)
	}
	config, err := a.prepare(a.dir, sources.String())
	if err != nil {
		return nil, err
	}
	a.config = config
	if out, err := a.run(config, "update"); err != nil {
		return nil, fmt.Errorf("apt-get update: %w\n%s", err, out)
	}
	if out, err := a.run(config, "check"); err != nil { // writes the caches once
		return nil, fmt.Errorf("apt-get check: %w\n%s", err, out)
	}
	return a, nil
}

// prepare makes the directories of an apt and gives the path of its configuration.
func (a *apt) prepare(dir, sources string) (string, error) {
	for _, d := range []string{"etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d", "state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return "", err
		}
	}
	files := map[string]string{
		"etc/sources.list": sources,
		"status":           string(a.status),
		"apt.conf": fmt.Sprintf(`Dir::Etc "%[1]s/etc";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
APT::Architecture "%[2]s";
#clear APT::Architectures;
APT::Architectures {"%[2]s";};
APT::Install-Recommends "false";
APT::Solver "internal";
APT::Sandbox::User "root";
Acquire::Languages "none";
Debug::NoLocking "true";
`, dir, a.arch),
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return "", err
		}
	}
	return filepath.Join(dir, "apt.conf"), nil
}

func (a *apt) run(config string, args ...string) (string, error) {
	cmd := exec.Command("apt-get", args...)
	cmd.Env = []string{"APT_CONFIG=" + config, "LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

var instLine = regexp.MustCompile(`(?m)^Inst (\S+) (?:\[\S+\] )?\((\S+) `)

// installed are "name version" of what apt would install.
func installed(output string) map[string]bool {
	set := map[string]bool{}
	for _, m := range instLine.FindAllStringSubmatch(output, -1) {
		set[strings.SplitN(m[1], ":", 2)[0]+" "+m[2]] = true
	}
	return set
}

// install asks what apt would do from all indices.
func (a *apt) install(name string) (map[string]bool, string, error) {
	out, err := a.run(a.config, "-s", "install", name)
	return installed(out), out, err
}

// accepts lets apt install the closure with nothing else to be seen. broken
// tells what it would remove or change of the host beside the closure.
func (a *apt) accepts(name string, slot int, res *resolve.Result, ours map[string]bool) (refused, broken string) {
	dir := filepath.Join(a.dir, fmt.Sprintf("closure%d", slot))
	config, err := a.prepare(dir, "")
	if err != nil {
		return err.Error(), ""
	}
	defer os.RemoveAll(dir)
	var index []byte
	args := []string{"-s", "--no-remove", "--with-source", filepath.Join(dir, "Packages"), "install", name}
	for _, c := range res.Packages {
		index = c.Stanza.Append(index)
		if a.status != nil {
			args = append(args, c.Name+"="+c.Version)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "Packages"), index, 0o644); err != nil {
		return err.Error(), ""
	}
	out, err := a.run(config, args...)
	if err != nil {
		return out, ""
	}
	for key := range installed(out) {
		if !ours[key] {
			return "", "apt installs " + key + " as well"
		}
	}
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "Remv ") {
			return "", line
		}
	}
	return "", ""
}
