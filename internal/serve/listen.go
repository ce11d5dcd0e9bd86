package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	headerTimeout  = 10 * time.Second // for the header of a request
	idleTimeout    = 2 * time.Minute  // between two requests of a connection
	drainTimeout   = 25 * time.Second // for answers under way when the server ends: kubelet kills after 30 s
	maxHeader      = 16 << 10         // bytes of a request's header
	maxConnections = 4096             // of all clients
)

// ListenAndServe listens on each address (host:port, unix:PATH), calls ready with the addresses once all are open, and
// serves and follows until ctx ends, then drains: answers under way are finished, for at most 25 s.
func (s *Server) ListenAndServe(ctx context.Context, addrs []string, ready func([]string)) error {
	listeners, names, err := listenAll(ctx, addrs)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	hs := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withStatusLine,
		BaseContext:       func(net.Listener) context.Context { return serving },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	free, clients := make(chan struct{}, maxConnections), newClients(maxPerClient, s.o.TrustedProxies)
	g, gctx := errgroup.WithContext(ctx) // ends with ctx, or when a listener fails
	for _, l := range listeners {
		if s.certs != nil && l.Addr().Network() == "tcp" {
			l = tls.NewListener(l, s.tlsConfig())
		}
		g.Go(func() error {
			if err := hs.Serve(&listener{l, free, clients, s.metrics.turnedAway.Inc}); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	g.Go(func() error { return s.Run(gctx) })
	g.Go(func() error {
		<-gctx.Done()
		s.drain(serving, hs)
		return nil
	})
	if ready != nil {
		ready(names)
	}
	return g.Wait()
}

// drain lets answers under way finish. /readyz says no meanwhile, for those who ask on a connection they have.
func (s *Server) drain(ctx context.Context, hs *http.Server) {
	s.draining.Store(true)
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	if err := hs.Shutdown(ctx); err != nil {
		s.log.Warn("answers broken off at the end", "error", err)
		hs.Close()
	}
}

func listenAll(ctx context.Context, addrs []string) ([]net.Listener, []string, error) {
	if len(addrs) == 0 {
		return nil, nil, errors.New("listen: no address")
	}
	var listeners []net.Listener
	var names []string
	for _, addr := range addrs {
		l, err := listen(ctx, addr)
		if err != nil {
			for _, l := range listeners {
				l.Close()
			}
			return nil, nil, fmt.Errorf("listen %s: %w", addr, err)
		}
		listeners = append(listeners, l)
		name := l.Addr().String()
		if l.Addr().Network() == "unix" {
			name = "unix:" + name
		}
		names = append(names, name)
	}
	return listeners, names, nil
}

func listen(ctx context.Context, addr string) (net.Listener, error) {
	var lc net.ListenConfig
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		return lc.Listen(ctx, "tcp", addr)
	}
	l, err := lc.Listen(ctx, "unix", path)
	if err == nil || !stale(path) {
		return l, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	return lc.Listen(ctx, "unix", path)
}

// stale tells whether path is a socket that nobody listens on: left by a server that was killed.
func stale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return false
	}
	return true
}
