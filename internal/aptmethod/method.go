package aptmethod

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"sync"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// transfers is how many files are fetched at once. apt has ten requests under way (Acquire::Max-Pipeline-Depth).
	transfers = 8
	// maxWaiting bounds the requests that wait for one of these.
	maxWaiting = 1000
)

// Options of [Run]. The zero value works with Stdin and Stdout.
type Options struct {
	Stdin  io.Reader
	Stdout io.Writer
	Root   string // directory below which files with credentials are; "": /
	// Drop gives up the rights of root for those of a user whom apt names; nil: [Drop].
	Drop func(user string) error
	// Registry are further options for registries; Login, PlainHTTP and CAFile are set by what apt says.
	Registry remote.Options
}

// Run is a method of apt until apt closes its standard input, and returns nil then, as soon as its transfers have stopped: what they have written
// stays, and the next run goes on from there. An error is one that apt was told of as a general failure, or that apt can no longer be told of.
func Run(ctx context.Context, o Options) error {
	ctx, cancel := context.WithCancel(ctx)
	m := &method{o: o, out: &writer{out: o.Stdout}, sources: map[string]*source{}, slots: make(chan struct{}, transfers), waiting: make(chan struct{}, maxWaiting)}
	defer m.jobs.Wait()
	defer cancel()
	m.out.send(codeCapabilities, "Capabilities", "Version", "1.0", "Pipeline", "true", "Send-Config", "true", "Send-URI-Encoded", "true")
	in := bufio.NewReader(o.Stdin)
	for {
		msg, err := readMessage(in)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = m.take(ctx, msg)
		}
		if err == nil {
			err = m.out.failed()
		}
		if err != nil {
			m.out.send(codeGeneral, "General Failure", "Message", "mmoci: "+err.Error())
			return err
		}
	}
}

// method is one run.
type method struct {
	o          Options
	out        *writer
	configured bool
	auth       *credentials
	caFile     string
	retries    *retries
	jobs       sync.WaitGroup
	slots      chan struct{} // one for each transfer
	waiting    chan struct{}

	mu      sync.Mutex
	sources map[string]*source
}

// take handles one message of apt's. What it does not know, a later apt may say.
func (m *method) take(ctx context.Context, msg *message) error {
	switch msg.code {
	case codeConfiguration:
		return m.configure(parseConfig(msg))
	case codeAcquire:
		if !m.configured {
			return errors.New("asked for a file before apt sent its configuration")
		}
		r, err := parseRequest(msg)
		if err != nil {
			return err
		}
		select {
		case m.waiting <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		m.jobs.Add(1)
		go func() {
			defer m.jobs.Done()
			defer func() { <-m.waiting }()
			m.serve(ctx, r)
		}()
	}
	return nil
}

// configure reads the credentials and then gives up the rights of root, as apt's own methods do.
func (m *method) configure(c config) (err error) {
	if m.configured {
		return nil
	}
	if m.auth, err = readCredentials(m.o.Root, c); err != nil {
		return err
	}
	for _, key := range []string{"Acquire::oci::CAInfo", "Acquire::https::CAInfo"} {
		if m.caFile == "" {
			m.caFile = c.get(key)
		}
	}
	drop := m.o.Drop
	if drop == nil {
		drop = Drop
	}
	if err := drop(c.get("APT::Sandbox::User")); err != nil {
		return err
	}
	m.retries = newRetries(c)
	m.configured = true
	return nil
}

// request is a file that apt wants.
type request struct {
	uri      string
	filename string
	sha256   snapshot.Digest // zero: apt does not know it
	size     int64           // -1: apt does not know it
	max      int64           // apt takes no more; 0: no limit
	since    string          // Last-Modified of the file that apt has
}

// parseRequest reads the message 600. What makes a request impossible to answer is an error; a field that only makes it wrong is found later.
func parseRequest(msg *message) (*request, error) {
	r := &request{uri: msg.get("URI"), filename: msg.get("Filename"), size: -1, since: msg.get("Last-Modified")}
	if r.uri == "" {
		return nil, fmt.Errorf("%w %d without URI", errMessage, msg.code)
	}
	if r.filename == "" {
		return nil, fmt.Errorf("%w %d without Filename", errMessage, msg.code)
	}
	if hex := msg.get("Expected-SHA256"); hex != "" {
		d, err := snapshot.ParseDigest("sha256:" + hex)
		if err != nil {
			return nil, fmt.Errorf("%w %d: Expected-SHA256 %.80q", errMessage, msg.code, hex)
		}
		r.sha256 = d
	}
	for _, f := range []struct {
		name string
		into *int64
	}{{"Expected-Checksum-FileSize", &r.size}, {"Maximum-Size", &r.max}} {
		text := msg.get(f.name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%w %d: %s %.80q", errMessage, msg.code, f.name, text)
		}
		*f.into = n
	}
	return r, nil
}

// serve answers one request.
func (m *method) serve(ctx context.Context, r *request) {
	f, modified, err := m.bring(ctx, r)
	reason, transient := "", false
	if err != nil {
		reason, transient = failReason(err)
		if r.sha256.IsZero() && path.Base(r.uri) == "InRelease" && errors.Is(err, snapshot.ErrIntegrity) {
			transient = true // else apt would ask for Release, and say in the end that this is not there
		}
	}
	m.retries.answer(ctx, r, transient, func() {
		if err != nil {
			m.fail(r, f.source, err, reason, transient)
			return
		}
		fields := []string{"URI", r.uri, "Filename", r.filename, "Size", strconv.FormatInt(f.Size, 10), "Last-Modified", modified}
		switch {
		case r.since == modified:
			fields = append(fields, "IMS-Hit", "true")
		case !r.sha256.IsZero(): // else apt may know another hash, and computes that
			fields = append(fields, "SHA256-Hash", f.Digest.String()[len("sha256:"):])
		}
		m.out.send(codeDone, "URI Done", fields...)
	})
}

// bring fetches the file of a request, unless apt has it: it was modified at the time that is returned.
func (m *method) bring(ctx context.Context, r *request) (f found, modified string, err error) {
	select {
	case m.slots <- struct{}{}:
	case <-ctx.Done():
		return f, "", ctx.Err()
	}
	defer func() { <-m.slots }()
	if f, err = m.find(ctx, r); err != nil {
		return f, "", err
	}
	if r.max > 0 && f.Size > r.max {
		return f, "", &tooLarge{f.Size, r.max}
	}
	modified = f.modified.UTC().Format(time.RFC1123)
	modified = modified[:len(modified)-len("UTC")] + "GMT"
	if r.since == modified {
		return f, modified, nil
	}
	return f, modified, f.source.fetch(ctx, fetching{
		blob: f.Blob, filename: r.filename, modified: f.modified,
		started: func(from int64) {
			fields := []string{"URI", r.uri, "Size", strconv.FormatInt(f.Size, 10), "Last-Modified", modified}
			if from > 0 {
				fields = append(fields, "Resume-Point", strconv.FormatInt(from, 10))
			}
			m.out.send(codeStart, "URI Start", fields...)
		},
	})
}

// fail tells apt why there is no file, in one line, and whether it may try again.
func (m *method) fail(r *request, src *source, err error, reason string, transient bool) {
	text := err.Error()
	if reason == notFound {
		text = "404  " + text // as apt's own method words it
	}
	if src != nil && remote.NeedsLogin(err) && m.auth.onlyTLS(src.ref, src.plain) {
		text += "; what auth.conf and auth.json have for it is for TLS alone: write machine oci+http://" + src.ref.Host() + " into auth.conf if it may be sent in the clear"
	}
	fields := []string{"URI", r.uri, "Message", text, "FailReason", reason}
	if transient {
		fields = append(fields, "Transient-Failure", "true")
	}
	m.out.send(codeFailure, "URI Failure", fields...)
}

// source is a snapshot at a registry, as apt's sources name it. Safe for concurrent use.
type source struct {
	ref        oci.Reference // with the tag or digest
	plain      bool
	repository *remote.Repository

	mu    sync.Mutex
	known *opened // nil: not opened yet

	failed failure
}

// at returns the source of a location, the same for all requests of a run.
func (m *method) at(l location) (*source, error) {
	key := strconv.FormatBool(l.plain) + l.ref.String()
	m.mu.Lock()
	defer m.mu.Unlock()
	if src := m.sources[key]; src != nil {
		return src, nil
	}
	o := m.o.Registry
	o.PlainHTTP, o.Concurrency = l.plain, transfers
	if !l.plain {
		o.CAFile = m.caFile
	}
	o.Login = func() (string, string) { return m.auth.find(l.ref, l.plain) }
	repository, err := remote.Open(l.ref, &o)
	if err != nil {
		return nil, err
	}
	src := &source{ref: l.ref, plain: l.plain, repository: repository}
	m.sources[key] = src
	return src, nil
}
