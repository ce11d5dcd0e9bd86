// Package builder has a source package built by a program that is not ours: sbuild, or a command of
// the site's.
//
// Both get the same: a directory IN with identity, environment, environment.tar and source/, and an
// empty directory OUT for what they build. Whatever they do, they end when the time is over or this
// process ends, with all that they started; what OUT has is looked at before anybody uses it.
package builder

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/rootfs/run"
)

// Job is what is to be built. All but Profiles, Options, Env, Environment and EnvironmentText must be set.
type Job struct {
	Identity        []byte // text
	EnvironmentText []byte // a line for each package
	Name, Version   string // of the source
	Date            time.Time
	Architecture    string
	What            string // any, all or any+all
	Profiles        []string
	Options         []string // of DEB_BUILD_OPTIONS
	Env             []string // NAME=VALUE
	Environment     string   // file: the tar of the root to build in; "" if the builder has its own
	Source          string   // directory with one .dsc and its files
}

// Options say how it is built. The zero value is sbuild with a limit of six hours.
type Options struct {
	// Command is the builder, which is called with IN and OUT behind its arguments. nil: sbuild.
	Command []string
	// Timeout bounds the build; 0 is six hours.
	Timeout time.Duration
	// Dir is where IN and sbuild's root are while it is built; "" is the machine's place for temporary files.
	Dir string
	// Log gets what the builder says; nil: only the end of it, in errors.
	Log io.Writer
	// config is put behind sbuild's configuration, for tests.
	config string
}

// Result is what was built.
type Result struct {
	Files []string // names in OUT: .debs, one .buildinfo, one .changes, sorted
}

// Limits.
const (
	defaultTimeout = 6 * time.Hour
	maxLog         = 1 << 30 // bytes that a builder may say
	maxTail        = 64 << 10
	maxFile        = 64 << 30 // bytes of one file of OUT
)

// ErrCannot tells that this machine cannot build. What wraps it says what is missing.
var ErrCannot = errors.New("nothing can be built here")

// Error is a builder that failed.
type Error struct {
	What   string // "sbuild", or the command
	Why    string // "ended with status 2", "took longer than 6h0m0s"
	Detail string // what failed, as far as it is known: a hunk of a patch
	Output string // its last lines
}

func (e *Error) Error() string {
	s := e.What + " " + e.Why
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Output != "" {
		s += ":\n" + e.Output
	}
	return s
}

// Build has a job built into the directory out, which must be there and empty.
//
// Errors: [*Error] of the builder; [ErrCannot]; [outcome.ErrIntegrity] for an OUT that is not what a
// build of the job has.
func Build(ctx context.Context, j Job, o Options, out string) (*Result, error) {
	limit := cmp.Or(o.Timeout, defaultTimeout)
	late := fmt.Errorf("took longer than %s and was ended", limit)
	ctx, cancel := context.WithTimeoutCause(ctx, limit, late)
	defer cancel()
	work, err := os.MkdirTemp(o.Dir, "mmoci-build-")
	if err != nil {
		return nil, err
	}
	defer func() { removeWork(ctx, work) }()
	// Whoever is root in a user namespace, and nobody on the machine, passes through to its root there.
	if err := os.Chmod(work, 0o711); err != nil { //nolint:gosec // as said
		return nil, err
	}
	if work, err = filepath.Abs(work); err == nil {
		out, err = filepath.Abs(out)
	}
	if err != nil {
		return nil, err
	}
	if there, err := os.ReadDir(out); err != nil || len(there) > 0 {
		return nil, cmp.Or(err, fmt.Errorf("%s is not empty", out))
	}
	b := &build{Job: &j, o: &o, work: work, in: filepath.Join(work, "IN"), out: out}
	if err := b.layOut(); err != nil {
		return nil, err
	}
	call := b.command
	if o.Command == nil {
		if call, err = b.sbuild(ctx); err != nil {
			return nil, err
		}
	}
	if err := b.run(ctx, call()); err != nil {
		if e, ok := errors.AsType[*Error](err); ok && context.Cause(ctx) == late { //nolint:errorlint // that one
			e.Why = late.Error()
		}
		return nil, err
	}
	return b.collect()
}

// removeWork removes the scratch directory. The root in which sbuild was ended by force has files of ids that an ordinary user does not
// have, and may map.
func removeWork(ctx context.Context, work string) {
	if os.RemoveAll(work) == nil || os.Geteuid() == 0 {
		return
	}
	left, _ := filepath.Glob(filepath.Join(work, "root-*"))
	for _, dir := range left {
		if os.Rename(dir, filepath.Join(work, "root")) == nil {
			_ = run.Sweep(ctx, work)
		}
	}
}

// build is a build under way.
type build struct {
	*Job
	o             *Options
	work, in, out string
}

// layOut makes IN. Big files are linked or, on another file system, named by symlinks.
func (b *build) layOut() error {
	source := filepath.Join(b.in, "source")
	if err := os.MkdirAll(source, 0o755); err != nil { //nolint:gosec // builders may have other ids
		return err
	}
	for name, text := range map[string][]byte{"identity": b.Identity, "environment": b.EnvironmentText} {
		if err := os.WriteFile(filepath.Join(b.in, name), text, 0o644); err != nil { //nolint:gosec // likewise
			return err
		}
	}
	if b.Environment != "" {
		if err := place(b.Environment, filepath.Join(b.in, "environment.tar")); err != nil {
			return err
		}
	}
	files, err := os.ReadDir(b.Source)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := place(filepath.Join(b.Source, f.Name()), filepath.Join(source, f.Name())); err != nil {
			return err
		}
	}
	return nil
}

func place(from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	return os.Symlink(from, to)
}

// dsc is the name of the one .dsc.
func (b *build) dsc() (string, error) {
	found, err := filepath.Glob(filepath.Join(b.in, "source", "*.dsc"))
	if err != nil || len(found) != 1 {
		return "", fmt.Errorf("%s has %d .dsc files, should have one", b.Source, len(found))
	}
	return found[0], nil
}

// call is a program to be run under supervision.
type call struct {
	what string // for messages
	supervised
}

// environment is what every builder sees of this process's environment: nothing of it but PATH.
func (b *build) environment() []string {
	return []string{
		"PATH=" + cmp.Or(os.Getenv("PATH"), "/usr/sbin:/usr/bin:/sbin:/bin"), "HOME=" + b.work, "TMPDIR=" + b.work, "LC_ALL=C.UTF-8", "TZ=UTC",
		fmt.Sprintf("SOURCE_DATE_EPOCH=%d", b.Date.Unix()),
		"DEB_BUILD_OPTIONS=" + strings.Join(b.buildOptions(), " "), "DEB_BUILD_PROFILES=" + strings.Join(b.Profiles, " "),
	}
}

// buildOptions are the job's options, with those that a profile of the same name means, as policy
// has it for nocheck and nodoc.
func (b *build) buildOptions() []string {
	out := slices.Clone(b.Options)
	for _, p := range []string{"nocheck", "nodoc"} {
		if slices.Contains(b.Profiles, p) && !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

// command is the call of the site's builder.
func (b *build) command() call {
	args := append(slices.Clone(b.o.Command), b.in, b.out)
	if abs, err := filepath.Abs(args[0]); err == nil && strings.ContainsRune(args[0], '/') {
		args[0] = abs // it is called in a directory of its own
	}
	return call{what: b.o.Command[0], supervised: supervised{Args: args, Dir: b.work, Env: append(b.environment(), b.Env...)}}
}

// run runs a call to its end.
func (b *build) run(ctx context.Context, c call) error {
	said := &tail{to: b.o.Log, left: maxLog}
	err := supervise(ctx, c.supervised, said)
	if err == nil {
		return nil
	}
	if errors.Is(err, ErrCannot) {
		return err
	}
	if cause := context.Cause(ctx); cause != nil && errors.Is(cause, context.Canceled) {
		return cause
	}
	e := &Error{What: c.what, Why: err.Error(), Output: said.lines(20)}
	e.Detail = patchFailure(said.kept)
	return e
}

// tail passes on what it gets, and keeps the end of it.
type tail struct {
	to   io.Writer
	left int64
	kept []byte
}

var errMuch = fmt.Errorf("said over %d bytes", int64(maxLog))

func (t *tail) Write(p []byte) (int, error) {
	if t.left -= int64(len(p)); t.left < 0 {
		return 0, errMuch
	}
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*maxTail {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-maxTail:]...)
	}
	if t.to == nil {
		return len(p), nil
	}
	return t.to.Write(p)
}

// lines are the last ones.
func (t *tail) lines(n int) string {
	lines := bytes.Split(bytes.TrimSpace(t.kept), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// patchFailure finds in what dpkg-source said which hunk of which file it could not apply.
func patchFailure(said []byte) string {
	file := ""
	for line := range bytes.Lines(said) {
		l := strings.TrimSpace(string(line))
		if name, ok := strings.CutPrefix(l, "patching file "); ok {
			file = name
		}
		if strings.HasPrefix(l, "Hunk #") && strings.Contains(l, "FAILED") {
			return "a patch does not apply: " + file + ": " + l
		}
		if strings.HasPrefix(l, "can't find file to patch") {
			return "a patch does not apply: " + l
		}
	}
	return ""
}
