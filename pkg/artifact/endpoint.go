package artifact

import (
	"net/http"
)

// Endpoint is how a registry is reached: for who looks at its certificate.
type Endpoint struct {
	URL       string            // of its API; http:// where that is spoken
	Transport http.RoundTripper // as readers and writers use it: proxies, client certificates
	CAFiles   []string          // PEM, believed beside the system's
}

// EndpointOf tells how the registry of a reference is reached. Nothing is connected.
func EndpointOf(ref Reference, o Options) (Endpoint, error) {
	c, err := o.Connections.client(ref, &o)
	if err != nil {
		return Endpoint{}, err
	}
	scheme := "https"
	if c.plainHTTP {
		scheme = "http"
	}
	return Endpoint{scheme + "://" + ref.host() + "/v2/", c.follow.Client.Transport, c.caFiles}, nil
}
