package main

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain is, where fakeRegistry is set, a program that answers and logs as a registry does.
func TestMain(m *testing.M) {
	addr := os.Getenv(fakeRegistry)
	if addr == "" {
		os.Exit(m.Run())
	}
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if os.Getenv(fakeRegistry+"_SILENT") == "" {
			fmt.Printf("127.0.0.1 - - [28/Nov/2026:21:00:00 +0000] \"%s %s HTTP/1.1\" 200 2 \"\" \"test\"\n", r.Method, r.URL)
		}
	}))
	fmt.Println(err)
	os.Exit(1)
}

const fakeRegistry = "BENCH_TEST_REGISTRY"

// Requests are counted whatever the program is called, and a log without any is no 0.
func TestRequests(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"registry", "docker-registry"} {
		for _, silent := range []string{"", "1"} {
			dir := t.TempDir()
			program := filepath.Join(dir, name)
			if err := os.Symlink(self, program); err != nil {
				t.Fatal(err)
			}
			addr, err := freePort()
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv(fakeRegistry, addr)
			t.Setenv(fakeRegistry+"_SILENT", silent)
			s, err := start(dir, addr, "/v2/", program)
			if err != nil {
				t.Fatal(err)
			}
			n, err := s.asked(func() error {
				for range 3 {
					resp, err := http.Get(s.url + "/v2/x")
					if err != nil {
						return err
					}
					resp.Body.Close()
				}
				return nil
			})
			s.stop()
			if silent == "" && (n != 3 || err != nil) {
				t.Errorf("%s: %v requests, %v", name, n, err)
			}
			if silent != "" && (err == nil || !strings.Contains(err.Error(), "no request in its access log")) {
				t.Errorf("%s that logs nothing: %v requests, %v", name, n, err)
			}
		}
	}
}

// A row that reads 0, or nothing, is an error by its name, never "met".
func TestRowsThatReadNothing(t *testing.T) {
	b := &bench{pairs: 1}
	add := func(f figure, ours, peer []float64) { g := b.table.figure(f); g.ours, g.peer = ours, peer }
	add(figure{name: "good", most: 5}, []float64{1, 2}, nil)
	add(figure{name: "good pair", bar: 1}, []float64{1, 2}, []float64{2, 3})
	bad := []string{"zero", "zero once", "zero without a bar", "zero against a peer", "peer of zero", "not a number", "never"}
	add(figure{name: bad[0], most: 5}, []float64{0, 0}, nil)
	add(figure{name: bad[1], most: 5}, []float64{1, 0, 1}, nil)
	add(figure{name: bad[2]}, []float64{0}, nil)
	add(figure{name: bad[3], bar: 1}, []float64{0, 0}, []float64{1, 1})
	add(figure{name: bad[4], bar: 1}, []float64{1, 1}, []float64{0, 1})
	add(figure{name: bad[5], most: 5}, []float64{math.NaN()}, nil)
	add(figure{name: bad[6], most: 5}, nil, nil)
	err := b.run(context.Background(), "no group of this name")
	if err == nil {
		t.Fatal("the run succeeds")
	}
	text := b.table.markdown()
	for _, name := range bad {
		if !strings.Contains(err.Error(), fmt.Sprintf("row %q", name)) {
			t.Errorf("row %q: not among the errors: %v", name, err)
		}
		if !strings.Contains(row(text, name), "not measured") || strings.Contains(row(text, name), "met") {
			t.Errorf("row %q: %s", name, row(text, name))
		}
	}
	for _, name := range []string{"good", "good pair"} {
		if strings.Contains(err.Error(), fmt.Sprintf("row %q", name)) || !strings.Contains(row(text, name), "| met |") {
			t.Errorf("row %q: %s, %v", name, row(text, name), err)
		}
	}
}

// row is the line of a figure.
func row(table, name string) string {
	for line := range strings.Lines(table) {
		if strings.HasPrefix(line, "| "+name+" |") {
			return line
		}
	}
	return ""
}
