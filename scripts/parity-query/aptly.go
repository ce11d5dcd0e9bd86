package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// aptly is a repository of aptly's with the synthetic archive in it.
type aptly struct{ config, address string }

// errAptly is a query that aptly refuses.
var errAptly = errors.New("aptly")

func newAptly(dir string) (*aptly, error) {
	a := &aptly{config: filepath.Join(dir, "aptly.conf")}
	text := fmt.Sprintf(`{"rootDir": %q, "architectures": []}`, filepath.Join(dir, "aptly"))
	if err := os.WriteFile(a.config, []byte(text), 0o644); err != nil {
		return nil, err
	}
	for _, args := range [][]string{{"repo", "create", "all"}, {"repo", "add", "all", filepath.Join(dir, "debs")}} {
		if out, err := a.command(context.Background(), args...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("aptly %s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return a, nil
}

func (a *aptly) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "aptly", append([]string{"-config=" + a.config}, args...)...)
}

// search is aptly package search.
func (a *aptly) search(query string) ([]string, error) {
	out, err := a.command(context.Background(), "package", "search", query).CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err != nil && strings.Contains(text, "no results"):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("%w: %s", errAptly, text)
	}
	keys := strings.Fields(text)
	slices.Sort(keys)
	return keys, nil
}

// serve runs aptly's server for as long as do runs.
func (a *aptly) serve(do func() error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	a.address = l.Addr().String()
	l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := a.command(ctx, "api", "serve", "-listen="+a.address)
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { cancel(); _ = cmd.Wait() }()
	for range 600 {
		if _, err = a.filter("Name"); err == nil {
			return do()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// filter asks the server which packages of the repository a query selects; the
// filters of mirrors and snapshots work like that.
func (a *aptly) filter(query string) ([]string, error) {
	res, err := http.Get("http://" + a.address + "/api/repos/all/packages?q=" + url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode == http.StatusOK {
		var keys []string
		if err := json.NewDecoder(res.Body).Decode(&keys); err != nil {
			return nil, err
		}
		for i, key := range keys { // "Pamd64 name version hash"
			if f := strings.Fields(key); len(f) >= 3 {
				arch := strings.TrimPrefix(f[0], "P")
				keys[i] = f[1] + "_" + f[2] + "_" + arch
			}
		}
		slices.Sort(keys)
		return keys, nil
	}
	var refused struct{ Error string }
	_ = json.NewDecoder(res.Body).Decode(&refused)
	return nil, fmt.Errorf("%w: %s: %s", errAptly, res.Status, refused.Error)
}
