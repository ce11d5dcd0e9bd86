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

// readyz says whether every reference has a snapshot to answer from. Clients may
// come although a tag cannot be resolved now: the snapshot at hand is served.
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
		switch h := v.current[i]; {
		case h == nil && refusal != nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: no snapshot yet; what the tag names is not followed: %v\n", f.source.Name(), refusal)
		case h == nil:
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&b, "not ready: %s: no snapshot yet\n", f.source.Name())
		case refusal != nil:
			fmt.Fprintf(&b, "ready: %s: %s; what the tag names now is not followed: %v\n", f.source.Name(), h.name, refusal)
		case failing:
			fmt.Fprintf(&b, "ready: %s: %s; the tag cannot be followed now\n", f.source.Name(), h.name)
		default:
			fmt.Fprintf(&b, "ready: %s: %s\n", f.source.Name(), h.name)
		}
	}
	for _, trouble := range req.s.troubles() {
		fmt.Fprintf(&b, "but: %s\n", trouble)
	}
	req.w.Header().Set("Cache-Control", "no-store")
	req.text(status, plainText, b.Bytes())
}

// troubles are what is wrong with the store and the registry behind it. Clients may
// come all the same.
func (s *Server) troubles() []string {
	var said []string
	if at := s.lateAt.Load(); at != 0 && s.o.Now().Sub(time.Unix(0, at)) < lately {
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

// noteLate notes that an answer ended because a registry was too slow.
func (s *Server) noteLate() {
	s.metrics.late.Inc()
	s.lateAt.Store(s.o.Now().UnixNano())
}
