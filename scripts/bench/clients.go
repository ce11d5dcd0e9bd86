package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"
)

const (
	updatingClients = 50
	wantedPackages  = 62 // docker.io and what it needs
)

// partClients is many hosts at once: each opens a connection, reads the Release
// and the index, and then its packages, as apt asks for them but without apt's
// own work, which would hide the server's.
func partClients(ctx context.Context, args []string) error {
	var g generated
	f := flag.NewFlagSet("clients", flag.ContinueOnError)
	url := f.String("url", "", "of the archive")
	f.IntVar(&g.packages, "packages", 1000, "of the archive")
	f.Int64Var(&g.bytes, "bytes", 20e6, "of all .debs")
	f.StringVar(&g.suite, "suite", "bookworm", "name")
	if err := f.Parse(args); err != nil {
		return err
	}
	var paths []string
	for _, m := range g.members(0) {
		paths = append(paths, m.file())
	}
	group, ctx := errgroup.WithContext(ctx)
	for i := range updatingClients {
		group.Go(func() error {
			c := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext, DisableCompression: true}}
			defer c.CloseIdleConnections()
			wanted := []string{"dists/" + g.suite + "/InRelease", "dists/" + g.suite + "/main/binary-amd64/Packages.gz"}
			for n := range wantedPackages {
				wanted = append(wanted, paths[(i*wantedPackages+n)%len(paths)])
			}
			for _, p := range wanted {
				if err := get(ctx, c, *url+"/"+p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// get reads an answer to its end.
func get(ctx context.Context, c *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
