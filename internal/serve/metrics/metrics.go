// Package metrics counts what a server does, and reads what it has when Prometheus asks.
// No label has a value that a client chose. artifacts/docs/monitoring.md lists all of them.
package metrics

import (
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// maxRules bounds the names of rules that denials are counted by: rules are
	// read again and again, and each time may have other names.
	maxRules = 1000
	// otherRule stands for those beyond. No rule has a name in brackets.
	otherRule = "(other)"
)

// Metrics are the counters of a server, in a registry of their own. Safe for concurrent use.
type Metrics struct {
	Handler  http.Handler        // of /metrics
	Registry prometheus.Gatherer // what Handler shows

	Aborted      prometheus.Counter
	TurnedAway   prometheus.Counter
	Corrupt      prometheus.Counter
	Late         prometheus.Counter
	Panics       prometheus.Counter
	FollowErrors *prometheus.CounterVec // reference
	Refused      *prometheus.CounterVec // reference, reason
	Reloads      *prometheus.CounterVec // result: ok, error

	requests *prometheus.CounterVec // archive, method, status
	bytes    *prometheus.CounterVec // archive
	seconds  prometheus.Histogram
	denied   *prometheus.CounterVec // archive, rule
	logOnly  *prometheus.CounterVec // archive, rule

	mu    sync.Mutex
	rules map[string]bool // that denials were counted by
}

// New returns the metrics of a server: nothing is counted yet, and what is read comes from state.
func New(state State) *Metrics {
	r := prometheus.NewRegistry()
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "mmoci", Name: name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	one := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "mmoci", Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	m := &Metrics{
		Handler: promhttp.HandlerFor(r, promhttp.HandlerOpts{}), Registry: r, rules: map[string]bool{},
		requests:   vec("requests_total", "Answers by archive, method and status. No archive is named for pages, and for what is in no archive served now; v2 is the registry.", "archive", "method", "status"),
		bytes:      vec("sent_bytes_total", "Bytes of bodies sent, by archive.", "archive"),
		denied:     vec("denied_total", "Requests that the policy denied, by archive and rule.", "archive", "rule"),
		logOnly:    vec("would_deny_total", "Requests that a log-only policy would have denied, by archive and rule.", "archive", "rule"),
		TurnedAway: one("connections_turned_away_total", "Connections closed at once, because their client has as many as one may have."),
		Aborted:    one("aborted_total", "Answers broken off before their end."),
		Corrupt:    one("corrupt_total", "Files that were not what their digest says."),
		Late:       one("late_total", "Answers that ended because the registry did not answer in time, or too slowly."),
		Panics:     one("panics_total", "Requests that a defect of the program ended; the log has the stack."),
		FollowErrors: vec("follow_errors_total", "Failed attempts to resolve a tag and open its snapshot.",
			"reference"),
		Refused: vec("snapshots_refused_total", "Snapshots that a tag named and that were not followed: an older Date, a date in the future, "+
			"a statement that does not verify, or one that contradicts its Releases.", "reference", "reason"),
		Reloads: vec("policy_reloads_total", "Rules read anew, by result.", "result"),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "mmoci", Name: "request_seconds", Help: "Time from request to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "mmoci", Name: "build_info", Help: "1; the labels say what is running.",
		ConstLabels: prometheus.Labels{"version": state.Version, "revision": revision(), "goversion": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(m.seconds, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, c := range state.collectors() {
		r.MustRegister(c)
	}
	return m
}

// revision is the commit that the program was built from; "" if it does not know.
func revision() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return ""
}

// Request counts an answer. archive is a prefix that is served, or "".
func (m *Metrics) Request(archive, method string, status int, bytes int64, took time.Duration) {
	if method != http.MethodGet && method != http.MethodHead {
		method = "other"
	}
	m.requests.WithLabelValues(archive, method, strconv.Itoa(status)).Inc()
	m.bytes.WithLabelValues(archive).Add(float64(bytes))
	m.seconds.Observe(took.Seconds())
}

// Denied counts a request that a rule denied.
func (m *Metrics) Denied(archive, rule string) {
	m.denied.WithLabelValues(archive, m.bounded(rule)).Inc()
}

// WouldDeny counts a request that a rule would have denied.
func (m *Metrics) WouldDeny(archive, rule string) {
	m.logOnly.WithLabelValues(archive, m.bounded(rule)).Inc()
}

// bounded is the name that a rule is counted by.
func (m *Metrics) bounded(rule string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.rules[rule] {
		if len(m.rules) == maxRules {
			return otherRule
		}
		m.rules[rule] = true
	}
	return rule
}
