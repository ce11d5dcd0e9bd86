package metrics

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.org/mmoci/internal/store"
)

// full returns metrics of which every one has a value.
func full() *Metrics {
	m := New(State{
		Version: "1.2",
		References: func() []Reference {
			return []Reference{{Name: "registry.example.org/site/mirror:noble", Ready: true, Present: true, Date: time.Unix(1, 0), ValidUntil: time.Unix(2, 0)}}
		},
		Expiries: func(context.Context) []Expiry {
			return []Expiry{{Archive: "debian", Suite: "trixie", At: time.Unix(3, 0)}, {Fingerprint: "AB"}, {Archive: "debian", Fingerprint: "CD", At: time.Unix(4, 0)}}
		},
		Files: func() map[string]error { return map[string]error{"policy": errors.New("bad"), "certificate": nil} },
		Store: func() store.Stats { return store.Stats{Hits: 7} },
		Mirrors: func() []Mirror {
			return []Mirror{{Name: "de1", Used: true, Redirects: 3, Bytes: 9, Faults: map[string]int64{"dead": 1}}}
		},
	})
	m.Request("debian", "GET", 200, 5, time.Second)
	m.Request("", "BREW", 405, 0, time.Second)
	m.Denied("debian", "no-telnet")
	m.WouldDeny("debian", "no-telnet")
	m.FollowErrors.WithLabelValues("registry.example.org/site/mirror:noble").Inc()
	m.Refused.WithLabelValues("registry.example.org/site/mirror:noble", "signature").Inc()
	m.Reloads.WithLabelValues("ok").Inc()
	return m
}

// The page that documents the metrics lists those that there are, with their kinds and labels, and no other.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../../artifacts/docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(mmoci_\\w+)` \\| ([^|]+) \\| [^|]+ \\|$").FindAllStringSubmatch(string(page), -1) {
		documented[m[1]] = strings.ReplaceAll(m[2], "`", "")
	}
	families, err := full().Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		name := f.GetName()
		if !strings.HasPrefix(name, "mmoci_") {
			continue
		}
		is := strings.ToLower(f.GetType().String())
		for _, p := range f.GetMetric()[0].GetLabel() {
			is += ", " + p.GetName()
		}
		is = strings.Replace(is, ",", ":", 1)
		said := documented[name]
		delete(documented, name)
		// The order of labels is free on the page.
		if !sameWords(said, is) {
			t.Errorf("%s is %q; the page says %q", name, is, said)
		}
	}
	for name := range documented {
		t.Errorf("the page lists %s, which there is not", name)
	}
}

func sameWords(a, b string) bool {
	words := func(s string) map[string]bool {
		set := map[string]bool{}
		for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' || r == ':' }) {
			set[w] = true
		}
		return set
	}
	x, y := words(a), words(b)
	for w := range x {
		if !y[w] {
			return false
		}
	}
	return len(x) == len(y)
}

func TestValues(t *testing.T) {
	w := httptest.NewRecorder()
	full().Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`mmoci_build_info{goversion="go`, `version="1.2"} 1`,
		`mmoci_requests_total{archive="debian",method="GET",status="200"} 1`, `mmoci_requests_total{archive="",method="other",status="405"} 1`,
		`mmoci_sent_bytes_total{archive="debian"} 5`, `mmoci_denied_total{archive="debian",rule="no-telnet"} 1`,
		`mmoci_reload_failing{file="policy"} 1`, `mmoci_reload_failing{file="certificate"} 0`,
		`mmoci_key_expires_seconds{archive="",fingerprint="AB"} +Inf`, `mmoci_key_expires_seconds{archive="debian",fingerprint="CD"} 4`,
		`mmoci_release_valid_until_seconds{archive="debian",suite="trixie"} 3`, "mmoci_store_hits_total 7", "go_goroutines", "process_",
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, w.Body)
		}
	}
}

// Rules that are read again and again under other names make no series without end.
func TestRulesAreBounded(t *testing.T) {
	m := New(State{})
	for i := range 2 * maxRules {
		m.Denied("debian", "rule "+strconv.Itoa(i))
	}
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "mmoci_denied_total" {
			continue
		}
		if n := len(f.GetMetric()); n != maxRules+1 {
			t.Errorf("%d series", n)
		}
		sum := 0.0
		for _, c := range f.GetMetric() {
			sum += c.GetCounter().GetValue()
		}
		if sum != 2*maxRules {
			t.Errorf("counted %v", sum)
		}
	}
}
