package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	oras "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"example.org/mmoci/pkg/artifact/oci"
)

const (
	maxCertFile = 4 << 20
	userAgent   = "mmoci"
)

// client speaks HTTP to one registry host.
type client struct {
	follow    *auth.Client // follows redirects, with credentials only where scheme, host and port stay
	stay      *auth.Client // does not: a redirect answers whether a blob is there
	plainHTTP bool
	caFiles   []string // that were given for this host
}

// newClient reads certificates and credentials. Nothing is connected yet.
func newClient(ref oci.Reference, o *Options) (*client, error) {
	host := ref.Host()
	dirs := o.CertDirs
	if dirs == nil {
		dirs = []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	}
	tlsConfig, caFiles, own, err := hostTLS(host, o.CAFile, dirs)
	if err != nil {
		return nil, err
	}
	t := newHostTransports(apiHost(ref), tlsConfig, dirs, o.workers()+1)
	credential, err := hostCredential(ref, o)
	if err != nil {
		return nil, err
	}
	c := &client{plainHTTP: o.PlainHTTP || IsLoopback(host) && !own, caFiles: caFiles}
	cache := auth.NewCache()
	make := func(redirect func(*http.Request, []*http.Request) error) *auth.Client {
		return &auth.Client{
			Client:     &http.Client{Transport: hintTransport{t}, CheckRedirect: redirect},
			Header:     http.Header{"User-Agent": {userAgent}},
			Credential: credential,
			Cache:      cache,
			ClientID:   userAgent,
		}
	}
	c.follow = make(redirect(o.PlainHTTP))
	c.stay = make(func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse })
	return c, nil
}

// apiHost is the host that a registry answers at, which for docker.io has another name.
func apiHost(ref oci.Reference) string {
	return oras.Reference{Registry: ref.Host()}.Host()
}

// IsLoopback tells hosts, HOST or HOST:PORT, that plain HTTP to does not leave the machine.
func IsLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if a, err := netip.ParseAddr(host); err == nil {
		return a.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// hostTLS is the system's roots, CAFile, and DIR/HOST/*.crt with client certificates *.cert
// and *.key (docker's and containers-certs.d(5)). caFiles are those with roots; own tells
// whether something was given for this host, which makes HTTPS the choice even on loopback.
// Without own roots the system's are read by the first handshake, and by none over plain HTTP.
func hostTLS(host, caFile string, dirs []string) (config *tls.Config, caFiles []string, own bool, err error) {
	config = &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		if err := addCA(config, caFile); err != nil {
			return nil, nil, false, err
		}
		caFiles, own = append(caFiles, caFile), true
	}
	for _, dir := range dirs {
		dir = filepath.Join(dir, host)
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue
		} else if err != nil {
			return nil, nil, false, err
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			switch filepath.Ext(name) {
			case ".crt":
				err = addCA(config, name)
				caFiles = append(caFiles, name)
			case ".cert":
				err = addClientCert(config, name)
			default:
				continue
			}
			if err != nil {
				return nil, nil, false, err
			}
			own = true
		}
	}
	return config, caFiles, own, nil
}

// addCA adds a root to the system's.
func addCA(config *tls.Config, name string) error {
	pem, err := oci.ReadFile(name, maxCertFile)
	if err != nil {
		return fmt.Errorf("CA file: %w", err)
	}
	if config.RootCAs == nil {
		if config.RootCAs, err = x509.SystemCertPool(); err != nil {
			config.RootCAs = x509.NewCertPool()
		}
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("CA file %s: no PEM certificate in it", name)
	}
	return nil
}

func addClientCert(config *tls.Config, name string) error {
	pair, err := tls.LoadX509KeyPair(name, strings.TrimSuffix(name, ".cert")+".key")
	if err != nil {
		return fmt.Errorf("client certificate %s: %w", name, err)
	}
	config.Certificates = append(config.Certificates, pair)
	return nil
}

// hostCredential looks for the user's credentials where containers-auth.json(5)
// says, then in docker's configuration with its helpers. podman's files may hold
// an entry for a repository or the path above it; the longest wins.
func hostCredential(ref oci.Reference, o *Options) (auth.CredentialFunc, error) {
	if o.Anonymous {
		return nil, nil
	}
	if o.Login != nil {
		return func(_ context.Context, asked string) (auth.Credential, error) {
			user, password := o.Login()
			if asked != apiHost(ref) || user+password == "" {
				return auth.EmptyCredential, nil
			}
			return auth.Credential{Username: user, Password: password}, nil
		}, nil
	}
	var podman []credentials.Store
	for _, name := range podmanAuthFiles() {
		if _, err := os.Stat(name); err != nil {
			continue
		}
		store, err := credentials.NewStore(name, credentials.StoreOptions{})
		if err != nil {
			return nil, fmt.Errorf("credentials %s: %w", name, err)
		}
		podman = append(podman, store)
	}
	docker, err := dockerStore()
	if err != nil {
		return nil, fmt.Errorf("docker credentials: %w", err)
	}
	host := ref.Host()
	return func(ctx context.Context, asked string) (auth.Credential, error) {
		if asked != host { // docker.io is asked for under another name
			return credentials.Credential(docker)(ctx, asked)
		}
		for key := ref.Name; key != "." && key != "/"; key = parent(key) {
			for _, store := range podman {
				if c, err := store.Get(ctx, key); err != nil || c != auth.EmptyCredential {
					return c, err
				}
			}
		}
		return docker.Get(ctx, credentials.ServerAddressFromRegistry(host))
	}, nil
}

// dockerStore is docker's configuration; a service without a home has none.
func dockerStore() (credentials.Store, error) {
	if _, err := os.UserHomeDir(); err != nil && os.Getenv("DOCKER_CONFIG") == "" {
		return credentials.NewMemoryStore(), nil
	}
	return credentials.NewStoreFromDocker(credentials.StoreOptions{})
}

// parent drops the last part of a path; "." ends.
func parent(key string) string {
	if i := strings.LastIndexByte(key, '/'); i >= 0 {
		return key[:i]
	}
	return "."
}

func podmanAuthFiles() []string {
	if name := os.Getenv("REGISTRY_AUTH_FILE"); name != "" {
		return []string{name}
	}
	var names []string
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		names = append(names, filepath.Join(dir, "containers/auth.json"))
	}
	if dir, err := os.UserConfigDir(); err == nil {
		names = append(names, filepath.Join(dir, "containers/auth.json"))
	}
	return slices.Clip(names)
}

// Endpoint is how a registry is reached, for callers that look at its certificate.
type Endpoint struct {
	URL       string            // of its API; http:// where that is spoken
	Transport http.RoundTripper // as readers and writers use it: proxies, client certificates
	CAFiles   []string          // PEM, believed beside the system's
}

// EndpointOf tells how the registry of a reference is reached. Nothing is connected.
func EndpointOf(ref oci.Reference, o *Options) (Endpoint, error) {
	c, err := o.Connections.client(ref, o)
	if err != nil {
		return Endpoint{}, err
	}
	scheme := "https"
	if c.plainHTTP {
		scheme = "http"
	}
	return Endpoint{scheme + "://" + ref.Host() + "/v2/", c.follow.Client.Transport, c.caFiles}, nil
}

// connectionsFor is how long connections and credentials are used again. A
// server lives for years: certificates and credentials are read anew.
const connectionsFor = 10 * time.Minute

// Connections lets calls share what they have opened to a registry: idle
// connections, and tokens. It is for callers that ask again and again, such as a
// server that follows a tag. The zero value works. Safe for concurrent use.
type Connections struct {
	mu      sync.Mutex
	clients map[connectionKey]sharedClient
}

// connectionKey is all that a client depends on.
type connectionKey struct {
	host, repository, caFile string
	plainHTTP, anonymous     bool
}

type sharedClient struct {
	*client
	made time.Time
}

// client is a client made before, or a new one.
func (c *Connections) client(ref oci.Reference, o *Options) (*client, error) {
	if c == nil {
		return newClient(ref, o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := connectionKey{ref.Host(), ref.Repository(), o.CAFile, o.PlainHTTP, o.Anonymous}
	old, ok := c.clients[key]
	if ok && time.Since(old.made) < connectionsFor {
		return old.client, nil
	}
	made, err := newClient(ref, o)
	if err != nil {
		return nil, err
	}
	if c.clients == nil {
		c.clients = map[connectionKey]sharedClient{}
	}
	c.clients[key] = sharedClient{made, time.Now()}
	return made, nil
}
