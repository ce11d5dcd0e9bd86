package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"example.org/mmoci/pkg/snapshot"
)

const plainText = "text/plain; charset=utf-8"

// health says that the process answers.
func (ex *exchange) health(more bool) {
	if more {
		ex.fail(http.StatusNotFound, "nothing here")
		return
	}
	ex.w.Header().Set("Cache-Control", "no-store")
	ex.text(http.StatusOK, plainText, []byte("ok\n"))
}

// ready says whether every reference has a snapshot to answer from. A tag that
// cannot be asked for now is no reason to send nobody here: what is held is served.
func (ex *exchange) ready(more bool) {
	if more {
		ex.fail(http.StatusNotFound, "nothing here")
		return
	}
	var b bytes.Buffer
	status := http.StatusOK
	if ex.s.draining.Load() {
		status = http.StatusServiceUnavailable
		fmt.Fprintln(&b, "not ready: the server is ending")
	}
	v := ex.s.view.Load()
	for i, l := range ex.s.lanes {
		failing, refusal := l.state()
		switch h := v.current[i]; {
		case h == nil && refusal != nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: no snapshot yet; what the tag names is not followed: %v\n", l.source.Name(), refusal)
		case h == nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: no snapshot yet\n", l.source.Name())
		case refusal != nil:
			fmt.Fprintf(&b, "ready: %s: %s; what the tag names now is not followed: %v\n", l.source.Name(), h.name, refusal)
		case failing:
			fmt.Fprintf(&b, "ready: %s: %s; the tag cannot be followed now\n", l.source.Name(), h.name)
		default:
			fmt.Fprintf(&b, "ready: %s: %s\n", l.source.Name(), h.name)
		}
	}
	for _, trouble := range ex.s.troubles() {
		fmt.Fprintf(&b, "but: %s\n", trouble)
	}
	ex.w.Header().Set("Cache-Control", "no-store")
	ex.text(status, plainText, b.Bytes())
}

// troubles are what is wrong with the store and with what lies behind it. None of
// them is a reason to send nobody here.
func (s *Server) troubles() []string {
	var said []string
	if at := s.lateAt.Load(); at != 0 && s.now().Sub(time.Unix(0, at)) < lately {
		said = append(said, "a client was sent away, because a file did not come from the registry in time")
	}
	if s.o.Store == nil {
		return said
	}
	st := s.o.Store()
	switch {
	case st.ReadOnly:
		said = append(said, "the store could not be written at the start; files that are not held are handed through and not kept")
	case st.Refusing != nil:
		said = append(said, fmt.Sprintf("the store's disk takes no more (%v); files that are not held are handed through and not kept", st.Refusing))
	}
	if st.Failing {
		said = append(said, "the last file that was not held could not be had; the log says why")
	}
	return said
}

// documents answers /mmoci/..: what the snapshots in force say of themselves,
// one after the other if there are several, or of the one named by ?prefix.
func (ex *exchange) documents(name string) {
	switch name {
	case "page.css":
		ex.css()
		return
	case "changes":
		ex.changes()
		return
	}
	if ex.carriedFile(name) {
		return
	}
	h := ex.documented()
	if h == nil && len(ex.s.lanes) == 1 {
		ex.noArchive(ex.r.URL.Query().Get("prefix"))
		return
	}
	if h == nil {
		ex.fail(http.StatusNotFound, "no such archive; with several references: ?prefix=PREFIX")
		return
	}
	ex.document(h, name, "no-cache")
}

// documented is the snapshot whose documents are asked for.
func (ex *exchange) documented() *held {
	v := ex.s.view.Load()
	if prefix := ex.r.URL.Query().Get("prefix"); prefix != "" {
		return v.inForce(prefix)
	}
	if len(v.current) != 1 {
		return nil
	}
	return v.current[0]
}

func (ex *exchange) document(h *held, name, cache string) {
	c := content{name: name, cache: cache, modified: h.Statement.Date}
	switch name {
	case "statement":
		c.blob, c.bytes = snapshot.BlobOf(h.StatementBytes), h.StatementBytes
	case "table":
		c.blob, c.bytes = h.Statement.Table, h.Table.Bytes()
	case "lock":
		c.blob, c.from = h.Statement.Lock, h
	default:
		ex.fail(http.StatusNotFound, "nothing here; there are statement, table, lock, changes")
		return
	}
	ex.snapshot = h.name
	ex.content(c)
}

// snapshotError answers for an ID that leads to no snapshot.
func (ex *exchange) snapshotError(id string, err error) {
	switch {
	case errors.Is(err, errNotFixed):
		ex.fail(http.StatusNotFound, fmt.Sprintf("%.100q is %v", id, errNotFixed))
	case errors.Is(err, snapshot.ErrNotExist):
		ex.fail(http.StatusNotFound, fmt.Sprintf("no snapshot %s here", id))
	case errors.Is(err, errBusy):
		ex.broken(http.StatusServiceUnavailable, errBusy.Error(), err)
	case errors.Is(err, context.DeadlineExceeded):
		ex.s.late()
		ex.broken(http.StatusGatewayTimeout, "the registry does not answer", err)
	default:
		ex.broken(http.StatusBadGateway, "the snapshot cannot be opened now", err)
	}
}
