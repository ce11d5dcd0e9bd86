// Package engine puts the container images of a snapshot into the container engine of this host, and takes
// out again what it put there: docker, containerd (by ctr) or podman, through their own programs.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/terminal"
	"example.org/mmoci/pkg/snapshot"
)

// Kind is a container engine, by the name of the program that imports images.
type Kind string

const (
	Docker     Kind = "docker"
	Containerd Kind = "containerd"
	Podman     Kind = "podman"
)

// KubernetesNamespace is where containerd keeps what kubelet sees.
const KubernetesNamespace = "k8s.io"

// ErrNone marks a host on which no container engine answers.
var ErrNone = errors.New("no container engine answers")

// wordsError is a failure of an engine, in its own words.
type wordsError struct {
	engine      Kind
	verb, words string
}

func (e *wordsError) Error() string { return string(e.engine) + " " + e.verb + ": " + e.words }

// Engine is a container engine that answered. Not safe for concurrent use.
type Engine struct {
	Kind      Kind
	Namespace string // of containerd; "" of the others
}

// String names the engine in messages.
func (e *Engine) String() string {
	if e.Namespace != "" {
		return string(e.Kind) + " (namespace " + e.Namespace + ")"
	}
	return string(e.Kind)
}

// Options of [Find]; the zero value takes the first of docker, containerd and podman that answers.
type Options struct {
	Kind      Kind          // "": whichever answers
	Namespace string        // of containerd; "": [KubernetesNamespace]
	Wait      time.Duration // how long to wait for an engine that is starting
}

// findPause is the pause between two questions to an engine that is starting.
const findPause = 200 * time.Millisecond

// Find asks for the engine. Errors: [ErrNone] with what each said, outcome.ErrUsage for an unknown kind.
func Find(ctx context.Context, o Options) (*Engine, error) {
	kinds := []Kind{Docker, Containerd, Podman}
	if o.Kind != "" {
		if !slices.Contains(kinds, o.Kind) {
			return nil, fmt.Errorf("%w: engine %q; it is docker, containerd or podman", outcome.ErrUsage, o.Kind)
		}
		kinds = []Kind{o.Kind}
	}
	until := time.Now().Add(o.Wait)
	for {
		e, err := find(ctx, kinds, o.Namespace)
		if err == nil || !errors.Is(err, ErrNone) || !time.Now().Before(until) {
			return e, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(findPause):
		}
	}
}

func find(ctx context.Context, kinds []Kind, namespace string) (*Engine, error) {
	var said []string
	for _, k := range kinds {
		e := &Engine{Kind: k}
		if k == Containerd {
			e.Namespace = namespace
			if namespace == "" {
				e.Namespace = KubernetesNamespace
			}
		}
		err := e.answers(ctx)
		if err == nil {
			return e, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		said = append(said, err.Error())
	}
	return nil, fmt.Errorf("%w: %s", ErrNone, strings.Join(said, "; "))
}

// answers asks the engine itself: a program without its daemon is none.
func (e *Engine) answers(ctx context.Context) (err error) {
	switch e.Kind {
	case Docker:
		_, err = e.run(ctx, "version", "--format", "{{.Server.Version}}")
	case Containerd:
		_, err = e.run(ctx, "version")
	case Podman:
		_, err = e.run(ctx, "info", "--format", "{{.Host.Arch}}")
	}
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s is not installed", e.Kind)
	}
	return err
}

// command is the engine's program with arguments. An interrupt of mmoci ends it; what it had
// not imported whole by then is not imported.
func (e *Engine) command(ctx context.Context, args ...string) *exec.Cmd {
	program := string(e.Kind)
	if e.Kind == Containerd {
		program = "ctr"
		args = append([]string{"--connect-timeout", "2s", "-n", e.Namespace}, args...) // else 10 s where no daemon is
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // podman gives its locks back
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// run returns what a call prints. The error has the engine's own last words.
func (e *Engine) run(ctx context.Context, args ...string) (string, error) {
	return e.finish(e.command(ctx, args...), args[0])
}

func (e *Engine) finish(cmd *exec.Cmd, verb string) (string, error) {
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	if err == nil {
		return out.String(), nil
	}
	if last := lastWords(words.String()); last != "" {
		return "", &wordsError{e.Kind, verb, last}
	}
	return "", fmt.Errorf("%s %s: %w", e.Kind, verb, err)
}

// maxWords bounds what of an engine's message is repeated, in bytes.
const maxWords = 400

// lastWords is the last line that an engine said: its error. podman tries the formats that it
// knows, and says of each why not: then it is the line about the one that was sent.
func lastWords(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	for _, line := range lines {
		if why, ok := strings.CutPrefix(strings.TrimSpace(line), "* oci-archive: "); ok {
			last = why
		}
	}
	for _, prefix := range []string{"Error response from daemon: ", "Error: ", "ctr: "} {
		last = strings.TrimPrefix(last, prefix)
	}
	if len(last) > maxWords {
		last = last[:maxWords] + ".."
	}
	return terminal.OneLine(last)
}

// absent are the words by which engines say that they do not have an image.
var absent = regexp.MustCompile(`(?i)no such image|image not known|no such object|not found`)

// digests are the digests in what an engine prints of an image.
var digests = regexp.MustCompile(`\b(?:sha256:)?([0-9a-f]{64})\b`)

// has returns the digests by which the engine knows the image of that name: of its config, manifest or
// index, as the engine counts. None: it does not have the image, or not whole.
func (e *Engine) has(ctx context.Context, name string) (ids, error) {
	var text string
	var err error
	switch e.Kind {
	case Docker:
		text, err = e.run(ctx, "image", "inspect", "--format", "{{.Id}}", name)
	case Podman:
		text, err = e.run(ctx, "image", "inspect", "--format", "{{.Id}} {{.Digest}} {{.RepoDigests}}", name)
	case Containerd:
		if text, err = e.run(ctx, "images", "check", "name=="+name); err == nil {
			text, err = wholeImage(text, name), nil
		}
	}
	if said, ok := errors.AsType[*wordsError](err); ok && absent.MatchString(said.words) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found ids
	for _, m := range digests.FindAllStringSubmatch(text, -1) {
		d, err := snapshot.ParseDigest("sha256:" + m[1])
		if err != nil {
			return nil, err
		}
		found = append(found, d)
	}
	return found, nil
}

// wholeImage is the digest of an image in what "ctr images check" prints, with the columns REF TYPE DIGEST STATUS SIZE UNPACKED;
// "" if some of its content is not there: STATUS is "complete (n/n)" else.
func wholeImage(text, name string) string {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 3 && f[0] == name && f[3] == "complete" {
			return f[2]
		}
	}
	return ""
}

// load is loadOnce, and again where containerd went on with the part of a blob that an earlier import left: it compares nothing
// at that point, and finds the blob to be another only at its end. The next time it starts anew.
func (e *Engine) load(ctx context.Context, write func(io.Writer) error) error {
	err := e.loadOnce(ctx, write)
	if said, ok := errors.AsType[*wordsError](err); ok && e.Kind == Containerd && absent.MatchString(said.words) {
		err = e.loadOnce(ctx, write)
	}
	return err
}

// loadOnce hands the engine a tar that write makes. If write fails, the engine sees a tar without its end, and takes
// nothing of it: what names the images comes last. Errors of write come first.
func (e *Engine) loadOnce(ctx context.Context, write func(io.Writer) error) error {
	cmd := e.command(ctx, "load")
	if e.Kind == Containerd {
		cmd = e.command(ctx, "images", "import", "-")
	}
	r, w := io.Pipe()
	cmd.Stdin = r
	written := make(chan error, 1)
	go func() {
		err := write(w)
		w.CloseWithError(err)
		written <- err
	}()
	_, err := e.finish(cmd, "load")
	r.CloseWithError(errEngineGone)
	if wrong := <-written; wrong != nil && !errors.Is(wrong, errEngineGone) {
		return wrong
	}
	return err
}

// errEngineGone is what the writer of a tar sees once the engine has ended.
var errEngineGone = errors.New("the engine ended")

// used returns a container of an image, running or not, that was made by one of these names; "" if there is none.
func (e *Engine) used(ctx context.Context, names []string) (string, error) {
	args := []string{"ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Image}}"}
	if e.Kind == Containerd {
		args = []string{"containers", "ls"} // with a head: CONTAINER IMAGE RUNTIME
	}
	text, err := e.run(ctx, args...)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && slices.Contains(names, f[1]) {
			return f[0], nil
		}
	}
	return "", nil
}

// remove takes an image out of the engine, by its name or digest; its other names stay. One that containers use
// is refused.
func (e *Engine) remove(ctx context.Context, im imported) error {
	config := im.IDs[0].String() // containerd's part for kubelet adds the name sha256:CONFIG to each image
	by, err := e.used(ctx, []string{im.Name, config})
	if err != nil {
		return err
	}
	if by != "" {
		return fmt.Errorf("container %s of %s uses it", terminal.OneLine(by), e)
	}
	if e.Kind != Containerd {
		if err := e.nameless(ctx, im.Name); err != nil {
			return err
		}
		_, err := e.run(ctx, "image", "rm", im.Name)
		return err
	}
	if _, err := e.run(ctx, "images", "rm", "--sync", im.Name); err != nil {
		return err
	}
	for _, d := range im.IDs[1:] {
		left, err := e.run(ctx, "images", "ls", "-q", "target.digest=="+d.String())
		if err != nil {
			return err
		}
		if strings.TrimSpace(left) == config {
			_, err = e.run(ctx, "images", "rm", "--sync", config)
			return err
		}
	}
	return nil
}

// nameless refuses a digest whose image has a name: "rm" would take that with the image, and somebody else gave it.
func (e *Engine) nameless(ctx context.Context, digest string) error {
	if _, err := snapshot.ParseDigest(digest); err != nil {
		return nil // a name, of which only itself is removed
	}
	text, err := e.run(ctx, "image", "inspect", "--format", "{{json .RepoTags}}", digest)
	if err != nil {
		return err
	}
	var names []string
	if err := json.Unmarshal([]byte(text), &names); err != nil {
		return fmt.Errorf("%s image inspect: %w", e.Kind, err)
	}
	if len(names) > 0 {
		return fmt.Errorf("%s calls it %s by now", e, terminal.OneLine(names[0]))
	}
	return nil
}

// ids are digests by which an engine may know one image.
type ids []snapshot.Digest

func (a ids) meets(b ids) bool {
	return slices.ContainsFunc(a, func(d snapshot.Digest) bool { return slices.Contains(b, d) })
}
