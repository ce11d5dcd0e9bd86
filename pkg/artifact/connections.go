package artifact

import (
	"sync"
	"time"
)

// connectionsFor is how long connections and credentials are used again. A
// server lives for years: certificates and credentials are read anew.
const connectionsFor = 10 * time.Minute

// Connections lets calls share what they have opened to a registry: idle
// connections, and tokens. For who asks again and again: a server that follows
// a tag. The zero value works. Safe for concurrent use.
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
func (c *Connections) client(ref Reference, o *Options) (*client, error) {
	if c == nil {
		return newClient(ref, o)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := connectionKey{ref.host(), ref.repository(), o.CAFile, o.PlainHTTP, o.Anonymous}
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
