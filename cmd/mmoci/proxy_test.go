package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"example.org/mmoci/internal/testregistry"
)

// proxy [USER:PASSWORD@]VAR LOG HOST=ADDRESS..: a forward proxy, for CONNECT too, that alone knows where these hosts are. VAR is its
// URL, LOG a file with a line for each request: METHOD TARGET.
func cmdProxy(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: proxy VAR LOG HOST=ADDRESS..")
	}
	at := map[string]string{}
	for _, a := range args[2:] {
		name, address, _ := strings.Cut(a, "=")
		at[name] = strings.TrimPrefix(address, "http://")
	}
	log, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	p := &forwardProxy{at: at, log: log}
	s := httptest.NewServer(p)
	ts.Defer(func() { s.CloseClientConnections(); s.Close(); log.Close() })
	if user, name, ok := strings.Cut(args[0], "@"); ok {
		ts.Setenv(name, strings.Replace(s.URL, "://", "://"+user+"@", 1))
	} else {
		ts.Setenv(args[0], s.URL)
	}
}

type forwardProxy struct {
	at  map[string]string
	mu  sync.Mutex
	log io.Writer
}

func (p *forwardProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target := r.URL.String()
	if r.Method == http.MethodConnect {
		target = r.Host
	}
	p.mu.Lock()
	fmt.Fprintf(p.log, "%s %s\n", r.Method, target)
	p.mu.Unlock()
	address := p.at[r.Host]
	switch {
	case address == "":
		http.Error(w, "no such host", http.StatusForbidden) // what is 502 would be asked for again and again
	case r.Method == http.MethodConnect:
		p.connect(w, address)
	default:
		out := r.Clone(r.Context())
		out.URL.Scheme, out.URL.Host, out.RequestURI = "http", address, ""
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		for k, v := range resp.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, resp.Body)
	}
}

func (p *forwardProxy) connect(w http.ResponseWriter, address string) {
	there, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() { defer there.Close(); _, _ = io.Copy(there, here) }()
	go func() { defer here.Close(); _, _ = io.Copy(here, there) }()
}

// tlsregistry VAR FILE: the strict registry over TLS, for any name below example.com. VAR is its address, FILE its CA.
func cmdTLSRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tlsregistry VAR FILE")
	}
	r := testregistry.New(&scriptTB{ts: ts}, testregistry.Options{TLS: true})
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}), 0o644))
	ts.Setenv(args[0], strings.TrimPrefix(r.URL, "https://"))
}
