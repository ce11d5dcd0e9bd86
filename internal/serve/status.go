package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"time"
)

// lately is how long /readyz says that a client was sent away because a registry was slow.
const lately = time.Minute

// healthz says that the process answers.
func (req *request) healthz() {
	req.w.Header().Set("Cache-Control", "no-store")
	req.text(http.StatusOK, plainText, []byte("ok\n"))
}

// readyz says whether every reference has a snapshot to answer from, and its indices
// are here, if they are fetched ahead. A server whose tag cannot be resolved now is ready: it serves the snapshot at hand.
func (req *request) readyz() {
	var b bytes.Buffer
	status := http.StatusOK
	if req.s.draining.Load() {
		status = http.StatusServiceUnavailable
		fmt.Fprintln(&b, "not ready: the server is ending")
	}
	v := req.s.view.Load()
	for i, f := range req.s.followers {
		failing, refusal := f.health()
		h := v.current[i]
		var lacking, tolerated string
		if h != nil {
			lacking, tolerated = req.s.lacking(h)
		}
		switch {
		case h == nil && refusal != nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: no snapshot yet; what the tag names is not followed: %v\n", f.source.Name(), refusal)
		case h == nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: no snapshot yet\n", f.source.Name())
		case lacking != "":
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: %s: %s\n", f.source.Name(), h.name, lacking)
		case refusal != nil:
			fmt.Fprintf(&b, "ready: %s: %s; what the tag names now is not followed: %v\n", f.source.Name(), h.name, refusal)
		case failing:
			fmt.Fprintf(&b, "ready: %s: %s; the tag cannot be followed now\n", f.source.Name(), h.name)
		default:
			fmt.Fprintf(&b, "ready: %s: %s\n", f.source.Name(), h.name)
		}
		if tolerated != "" {
			fmt.Fprintf(&b, "but: %s: %s; they are fetched when clients ask for them\n", h.name, tolerated)
		}
		if next := f.pending.Load(); next != nil {
			fmt.Fprintf(&b, "next: %s: %s, when its files are here\n", f.source.Name(), next.name)
		}
	}
	for _, trouble := range req.s.troubles() {
		fmt.Fprintf(&b, "but: %s\n", trouble)
	}
	req.w.Header().Set("Cache-Control", "no-store")
	req.text(status, plainText, b.Bytes())
}

// troubles are what is wrong with the store and the registry behind it. The server
// is ready all the same.
func (s *Server) troubles() []string {
	var list []string
	if at := s.lateAt.Load(); at != 0 && s.o.Now().Sub(time.Unix(0, at)) < lately {
		list = append(list, "a client was sent away, because a file did not come from the registry in time")
	}
	for _, kind := range []string{filePolicy, fileCertificate, fileCredentials} {
		if err := s.failingFiles()[kind]; err != nil {
			list = append(list, fmt.Sprintf("the file of the %s cannot be used as it is now, and what was read before is in force; the log says why", kind))
		}
	}
	list = append(list, s.front.Troubles()...)
	if s.o.Store == nil {
		return list
	}
	st := s.o.Store()
	switch {
	case st.ReadOnly:
		list = append(list, "the store could not be written at the start; files that it does not have are passed through and not kept")
	case st.Refusing != nil:
		list = append(list, fmt.Sprintf("the store's disk takes no more (%v); files that it does not have are passed through and not kept", st.Refusing))
	}
	if st.Failing {
		list = append(list, "the last file that the store did not have could not be fetched; the log says why")
	}
	return list
}

// noteLate notes that an answer ended because a registry was too slow.
func (s *Server) noteLate() {
	s.metrics.Late.Inc()
	s.lateAt.Store(s.o.Now().UnixNano())
}
