package builder

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// subordinate ids that sbuild gets where this process is root and /etc/subuid names none for root:
// those that scratch roots of maintainer scripts have, too.
const (
	firstID = 0x70000000
	ids     = 65536
)

// Available tells at once whether the program is there that would build, nil for sbuild: what it is given takes minutes to make.
//
// Errors: [ErrCannot].
func Available(command []string) error {
	needs := [][2]string{{"sbuild", " (Debian's package sbuild)"}, {"newuidmap", " (Debian's package uidmap)"}}
	if command != nil {
		needs = [][2]string{{command[0], ""}}
	}
	for _, n := range needs {
		_, err := exec.LookPath(n[0])
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("%w: %s is no program: it may not be executed", ErrCannot, n[0])
		}
		if err != nil {
			return fmt.Errorf("%w: %s is missing%s", ErrCannot, n[0], n[1])
		}
	}
	return nil
}

// sbuild prepares a call of sbuild (1), whose root is the environment's tar and of which the build
// has no network. The source is built at /build/NAME-UPSTREAM.
func (b *build) sbuild(context.Context) (func() call, error) {
	if err := Available(nil); err != nil {
		return nil, err
	}
	if b.Environment == "" {
		return nil, errors.New("sbuild needs an environment")
	}
	dsc, err := b.dsc()
	if err != nil {
		return nil, err
	}
	files, err := b.subordinate()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(b.work, "sbuildrc")
	if err := os.WriteFile(config, []byte(b.config()), 0o600); err != nil {
		return nil, err
	}
	what := map[string][]string{"any": {"--arch-any", "--no-arch-all"}, "all": {"--no-arch-any", "--arch-all"}, "any+all": {"--arch-any", "--arch-all"}}[b.What]
	args := []string{"sbuild", "--chroot-mode=unshare", "--chroot=" + filepath.Join(b.in, "environment.tar"), "--dist=mmoci", "--arch=" + b.Architecture,
		"--build-dir=" + b.out, "--build-path=/build", "--no-source", "--nolog", "--no-clean-source", "--no-run-lintian", "--no-run-piuparts", "--no-run-autopkgtest",
		"--no-apt-update", "--no-apt-upgrade", "--no-apt-distupgrade", "--build-dep-resolver=null"}
	args = append(args, what...)
	if len(b.Profiles) > 0 {
		args = append(args, "--profiles="+strings.Join(b.Profiles, " "))
	}
	args = append(args, dsc)
	env := append(b.environment(), "SBUILD_CONFIG="+config)
	if name := userName(); name != "" {
		env = append(env, "USER="+name, "LOGNAME="+name)
	}
	return func() call {
		return call{what: "sbuild", supervised: supervised{Args: args, Env: env, Dir: b.work, Files: files}}
	}, nil
}

func userName() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// config is sbuild's configuration, which is Perl.
func (b *build) config() string {
	env := map[string]string{"LC_ALL": "C.UTF-8", "TZ": "UTC", "SOURCE_DATE_EPOCH": strconv.FormatInt(b.Date.Unix(), 10)}
	if o := b.buildOptions(); len(o) > 0 {
		env["DEB_BUILD_OPTIONS"] = strings.Join(o, " ")
	}
	for _, e := range b.Env {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	var names []string
	for name := range env {
		names = append(names, name)
	}
	slices.Sort(names)
	var s strings.Builder
	s.WriteString("$build_environment = {\n")
	for _, name := range names {
		fmt.Fprintf(&s, "  %s => %s,\n", perl(name), perl(env[name]))
	}
	s.WriteString("};\n$build_dep_resolver = 'null';\n$purge_build_deps = 'never';\n$purge_build_directory = 'always';\n$purge_session = 'always';\n")
	fmt.Fprintf(&s, "$unshare_tmpdir_template = %s;\n", perl(filepath.Join(b.work, "root-XXXXXXXX")))
	fmt.Fprintf(&s, "$maintainer_name = 'mmoci <mmoci@localhost>';\n%s\n1;\n", b.o.config)
	return s.String()
}

// perl is a string of Perl's.
func perl(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }

// subordinate makes sure that sbuild finds ids for its root: those of /etc/subuid, or others where
// this process is root and can give itself any.
func (b *build) subordinate() (files string, err error) {
	name := userName()
	if hasIDs("/etc/subuid", name) && hasIDs("/etc/subgid", name) {
		return "", nil
	}
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("%w: /etc/subuid and /etc/subgid give user %s no %d ids (usermod --add-subuids and --add-subgids give them)", ErrCannot, name, ids)
	}
	files = filepath.Join(b.work, "etc")
	if err := os.Mkdir(files, 0o755); err != nil { //nolint:gosec // programs read it
		return "", err
	}
	for _, f := range []string{"subuid", "subgid"} {
		if _, err := os.Stat("/etc/" + f); err != nil {
			return "", fmt.Errorf("%w: there is no /etc/%s (Debian's package uidmap makes it)", ErrCannot, f)
		}
		line := fmt.Sprintf("%s:%d:%d\n", name, firstID, ids)
		if err := os.WriteFile(filepath.Join(files, f), []byte(line), 0o644); err != nil { //nolint:gosec // likewise
			return "", err
		}
	}
	return files, nil
}

// hasIDs tells whether a file has a line NAME:FIRST:COUNT of enough ids, the first of that name (sbuild reads that).
func hasIDs(file, name string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	for in := bufio.NewScanner(f); in.Scan(); {
		parts := strings.Split(in.Text(), ":")
		if len(parts) == 3 && parts[0] == name {
			n, err := strconv.Atoi(strings.TrimSpace(parts[2]))
			return err == nil && n >= ids
		}
	}
	return false
}
