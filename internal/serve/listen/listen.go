// Package listen accepts the connections of a server: TCP, TLS and unix sockets,
// so many at once and of one client. It puts words of the server's own into the
// status line, where apt shows them.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
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
	// MaxPerClient bounds the connections of one client, so that others find room: an
	// address, of IPv6 a network of /64. A trusted proxy speaks for many and has no bound.
	MaxPerClient = 512
)

// Options of [Serve].
type Options struct {
	Handler    http.Handler
	TLS        *tls.Config    // of TCP addresses; nil: plain HTTP
	Exempt     []netip.Prefix // clients that may have any number of connections
	TurnedAway func()         // called for each connection that a client may not have
	Draining   func()         // called when the end begins
	Log        *slog.Logger
	ErrorLog   *log.Logger // of what net/http says
}

// ParseNetworks reads addresses and networks (CIDR), such as of trusted proxies.
func ParseNetworks(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if addr, aerr := netip.ParseAddr(text); aerr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network", text)
		}
		list = append(list, prefix.Masked())
	}
	return list, nil
}

// Serve listens on each address (host:port, unix:PATH), calls ready with the
// addresses once all are open, and serves until ctx ends. Then answers under way
// are finished, for at most 25 s.
func Serve(ctx context.Context, addrs []string, ready func([]string), o Options) error {
	listeners, names, err := listenAll(ctx, addrs)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	hs := &http.Server{
		Handler:           o.Handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withStatusLine,
		BaseContext:       func(net.Listener) context.Context { return serving },
		ErrorLog:          o.ErrorLog,
	}
	free, clients := make(chan struct{}, maxConnections), newClients(MaxPerClient, o.Exempt)
	g, gctx := errgroup.WithContext(ctx) // ends with ctx, or when a listener fails
	for _, l := range listeners {
		if o.TLS != nil && l.Addr().Network() == "tcp" {
			l = tls.NewListener(l, o.TLS)
		}
		g.Go(func() error {
			if err := hs.Serve(&listener{l, free, clients, o.TurnedAway}); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
	}
	g.Go(func() error {
		<-gctx.Done()
		o.Draining()
		ending, cancel := context.WithTimeout(serving, drainTimeout)
		defer cancel()
		if err := hs.Shutdown(ending); err != nil {
			o.Log.Warn("answers broken off at the end", "error", err)
			hs.Close()
		}
		return nil
	})
	if ready != nil {
		ready(names)
	}
	return g.Wait()
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

// stale tells whether path is a socket that a killed server left: nobody listens on it.
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
