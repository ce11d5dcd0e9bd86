package serve

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the server's counters, in a registry of their own.
type metrics struct {
	registry *prometheus.Registry
	handler  http.Handler

	requests     *prometheus.CounterVec // status, method
	bytes        prometheus.Counter
	seconds      prometheus.Histogram
	denied       *prometheus.CounterVec // archive
	logOnly      *prometheus.CounterVec // archive
	aborted      prometheus.Counter
	turnedAway   prometheus.Counter
	corrupt      prometheus.Counter
	late         prometheus.Counter
	followErrors *prometheus.CounterVec // reference
	refused      *prometheus.CounterVec // reference, reason
	reloads      *prometheus.CounterVec // result
}

func newMetrics() *metrics {
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
	seconds := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: "mmoci", Name: "request_seconds", Help: "Time from request to the end of its answer.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9),
	})
	r.MustRegister(seconds, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return &metrics{
		registry: r, handler: promhttp.HandlerFor(r, promhttp.HandlerOpts{}), seconds: seconds,
		requests:     vec("requests_total", "Answers by status and method.", "status", "method"),
		bytes:        one("sent_bytes_total", "Bytes of bodies sent."),
		denied:       vec("denied_total", "Requests that the policy denied.", "archive"),
		logOnly:      vec("would_deny_total", "Requests that a log-only policy would have denied.", "archive"),
		turnedAway:   one("connections_turned_away_total", "Connections closed at once, because their client has as many as one may have."),
		aborted:      one("aborted_total", "Answers broken off before their end."),
		corrupt:      one("corrupt_total", "Files that were not what their digest says."),
		late:         one("late_total", "Answers that ended because the registry did not answer in time, or too slowly."),
		followErrors: vec("follow_errors_total", "Failed questions for the root a tag names.", "reference"),
		refused: vec("snapshots_refused_total", "Snapshots that a tag named and that were not followed: an older Date, a date in the future, "+
			"a statement that does not verify, or one that contradicts its Releases.", "reference", "reason"),
		reloads: vec("policy_reloads_total", "Rules read anew, by result.", "result"),
	}
}

// request counts an answer.
func (m *metrics) request(ex *exchange, took time.Duration) {
	method := ex.r.Method
	if method != http.MethodGet && method != http.MethodHead {
		method = "other"
	}
	m.requests.WithLabelValues(strconv.Itoa(ex.status), method).Inc()
	m.bytes.Add(float64(ex.bytes))
	m.seconds.Observe(took.Seconds())
}

// observe adds what is read from the server when somebody looks.
func (m *metrics) observe(s *Server) {
	m.registry.MustRegister(snapshotCollector{s}, validityCollector{s})
	if s.o.Store != nil {
		m.registry.MustRegister(storeCollector{s.o.Store})
	}
}

func (ex *exchange) metricsText(more bool) {
	if more {
		ex.fail(http.StatusNotFound, "nothing here")
		return
	}
	ex.status = http.StatusOK
	ex.s.metrics.handler.ServeHTTP(ex.w, ex.r)
}
