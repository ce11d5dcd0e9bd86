// Package upstream opens paths of an upstream: over HTTP(S) with by-hash,
// resume, retries, proxies, CAs and credentials, or in a directory. It verifies
// nothing and says so: its callers do.
package upstream
