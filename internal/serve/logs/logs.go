// Package logs is what a server writes while it runs: a record for each request and one
// for each event, all of them in one format.
package logs

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

// Format is how a record is written: a line each.
type Format string

const (
	JSON Format = "json" // an object
	Text Format = "text" // NAME=VALUE, with spaces between
)

// ParseFormat reads the name of a format; of "" it is Text for a terminal, else JSON.
func ParseFormat(name string, isTerminal bool) (Format, error) {
	switch f := Format(name); {
	case f == "" && isTerminal:
		return Text, nil
	case f == "":
		return JSON, nil
	case f == JSON, f == Text:
		return f, nil
	}
	return "", fmt.Errorf("%q is neither json nor text", name)
}

// New returns a logger of records of a level and above, each written by one call of w.Write.
func New(w io.Writer, f Format, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if f == Text {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(newJSON(w, o))
}

// OfServer returns a logger for an http.Server: what it says becomes a record of l. That
// a client gave up a handshake, or asked in a way that the server does not take, is a detail; the
// rest, such as that no connection can be accepted, is a warning.
func OfServer(l *slog.Logger) *log.Logger { return log.New(serverLines{l}, "", 0) }

type serverLines struct{ log *slog.Logger }

func (s serverLines) Write(p []byte) (int, error) {
	line, level := strings.TrimSpace(string(p)), slog.LevelWarn
	for _, byClient := range []string{"http: TLS handshake error", "http: URL query contains semicolon"} {
		if strings.HasPrefix(line, byClient) {
			level = slog.LevelDebug
		}
	}
	s.log.Log(context.Background(), level, line)
	return len(p), nil
}

// Request is what is recorded of one request.
type Request struct {
	Client, Method, Path string
	Snapshot, Archive    string // that it was answered from
	Package              snapshot.Package
	Status               int    // 0: the client was gone before there was one
	Bytes                int64  // of the body, sent
	From                 string // where the bytes of the body come from
	Mirror               string // that the client was sent to
	Rule                 string // of the policy
	Seconds              float64
	Agent                string
	Registry             *Registry // nil: not below /v2/
	Err                  error     // why the answer was broken off, or is an error
}

// Registry is what is recorded of a request below /v2/.
type Registry struct {
	Repository, Reference string // as the path has them
	Image                 string // the name of the image that is answered or denied; "" of a snapshot
}

// Log writes the record.
func (r *Request) Log(l *slog.Logger) {
	attrs := make([]slog.Attr, 0, 20)
	attrs = append(attrs,
		slog.String("client", r.Client),
		slog.String("method", r.Method),
		slog.String("path", r.Path),
		slog.String("snapshot", r.Snapshot),
		slog.String("archive", r.Archive),
		slog.String("package", r.Package.Name),
		slog.String("version", r.Package.Version),
		slog.String("architecture", r.Package.Architecture),
		slog.String("source", r.Package.Source),
		slog.Int("status", r.Status),
		slog.Int64("bytes", r.Bytes),
		slog.String("from", r.From),
		slog.String("rule", r.Rule),
		slog.Float64("seconds", r.Seconds),
		slog.String("agent", r.Agent),
	)
	if v := r.Registry; v != nil {
		attrs = append(attrs, slog.String("repository", v.Repository), slog.String("reference", v.Reference), slog.String("image", v.Image))
	}
	if r.Mirror != "" {
		attrs = append(attrs, slog.String("mirror", r.Mirror))
	}
	if r.Err != nil {
		attrs = append(attrs, slog.String("error", r.Err.Error()))
	}
	if !l.Enabled(context.Background(), slog.LevelInfo) {
		return
	}
	record := slog.NewRecord(time.Now(), slog.LevelInfo, "request", 0) // LogAttrs would look for who called it
	record.AddAttrs(attrs...)
	_ = l.Handler().Handle(context.Background(), record)
}
