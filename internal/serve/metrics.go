package serve

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"example.org/mmoci/internal/store"
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
		followErrors: vec("follow_errors_total", "Failed attempts to resolve a tag and open its snapshot.", "reference"),
		refused: vec("snapshots_refused_total", "Snapshots that a tag named and that were not followed: an older Date, a date in the future, "+
			"a statement that does not verify, or one that contradicts its Releases.", "reference", "reason"),
		reloads: vec("policy_reloads_total", "Rules read anew, by result.", "result"),
	}
}

// request counts an answer.
func (m *metrics) request(req *request, took time.Duration) {
	method := req.r.Method
	if method != http.MethodGet && method != http.MethodHead {
		method = "other"
	}
	m.requests.WithLabelValues(strconv.Itoa(req.status), method).Inc()
	m.bytes.Add(float64(req.bytes))
	m.seconds.Observe(took.Seconds())
}

// observe adds the metrics that are read from the server when they are asked for.
func (m *metrics) observe(s *Server) {
	m.registry.MustRegister(snapshotCollector{s}, validityCollector{s})
	if s.o.Store != nil {
		m.registry.MustRegister(storeCollector{s.o.Store})
	}
}

// snapshotCollector reports the current snapshots.
type snapshotCollector struct{ s *Server }

func snapshotDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("mmoci_snapshot_"+name, help, []string{"reference"}, nil)
}

// Describe implements prometheus.Collector.
func (c snapshotCollector) Describe(ch chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, ch)
}

// Collect implements prometheus.Collector.
func (c snapshotCollector) Collect(ch chan<- prometheus.Metric) {
	ready := snapshotDesc("ready", "1 if the reference has a snapshot to answer from.")
	failing := snapshotDesc("follow_failing", "1 if the tag cannot be resolved now.")
	for i, f := range c.s.followers {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, f.source.Name())
		}
		bad, _ := f.health()
		gauge(failing, oneIf(bad))
		h := c.s.view.Load().current[i]
		gauge(ready, oneIf(h != nil))
		if h == nil {
			continue
		}
		gauge(snapshotDesc("date_seconds", "Date of the current snapshot, in Unix time."), float64(h.Statement.Date.Unix()))
		gauge(snapshotDesc("age_seconds", "Age of the current snapshot."), c.s.o.Now().Sub(h.Statement.Date).Seconds())
		gauge(snapshotDesc("files", "Files of the current snapshot."), float64(h.Table.Len()))
		if t := h.Statement.ValidUntil; !t.IsZero() {
			gauge(snapshotDesc("valid_until_seconds", "End of the statement's validity, in Unix time, if it has one."), float64(t.Unix()))
		}
	}
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// storeCollector reports the counts of a store.
type storeCollector struct{ stats func() store.Stats }

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.stats()
	report := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("mmoci_store_"+name, help, nil, nil), kind, v)
	}
	count := func(name, help string, v int64) { report(prometheus.CounterValue, name, help, float64(v)) }
	count("hits_total", "Blobs opened from the store.", st.Hits)
	count("fetched_total", "Blobs fetched and kept.", st.Fetched)
	count("fetched_bytes_total", "Bytes of the blobs fetched and kept.", st.Bytes)
	count("failed_total", "Fetches that ended in an error or in wrong bytes.", st.Failed)
	count("lost_total", "Blobs kept that a failed sync lost before they were durable; they are fetched anew.", st.Lost)
	count("passed_total", "Blobs passed through without being kept.", st.Passed)
	count("corrupt_total", "Stored files that were not what their name says.", st.Corrupt)
	count("evicted_total", "Blobs removed to keep the bound.", st.Evicted)
	report(prometheus.GaugeValue, "held_bytes", "Bytes on disk, as far as known; 0 without a bound.", float64(st.Cached))
	report(prometheus.GaugeValue, "read_only", "1 if the store's directory could not be written when the server started: nothing is kept.", oneIf(st.ReadOnly))
	report(prometheus.GaugeValue, "refusing", "1 if the disk took no more the last time: full, read-only, broken.", oneIf(st.Refusing != nil))
	report(prometheus.GaugeValue, "fetch_failing", "1 if the last file that the store did not have could not be fetched.", oneIf(st.Failing))
}

// releaseWait bounds how long metrics wait for upstream's Release files; those
// that are not read then are reported the next time.
const releaseWait = 2 * time.Second

// validityCollector reports when what clients rely on ends: upstream's Releases,
// and the keys that sign them.
type validityCollector struct{ s *Server }

func untilDesc() *prometheus.Desc {
	return prometheus.NewDesc("mmoci_release_valid_until_seconds",
		"End of the validity of upstream's current Release, in Unix time, where it has one.", []string{"archive", "suite"}, nil)
}

func expiresDesc() *prometheus.Desc {
	return prometheus.NewDesc("mmoci_key_expires_seconds",
		"When a key that signs what is served expires, in Unix time; +Inf if never. No archive is named for the site's own.",
		[]string{"archive", "fingerprint"}, nil)
}

// Describe implements prometheus.Collector. It does not collect: it is called
// when the server starts, which waits for no Release.
func (c validityCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- untilDesc()
	ch <- expiresDesc()
}

// Collect implements prometheus.Collector.
func (c validityCollector) Collect(ch chan<- prometheus.Metric) {
	until, expires := untilDesc(), expiresDesc()
	ctx, cancel := context.WithTimeout(context.Background(), releaseWait)
	defer cancel()
	key := func(prefix, fingerprint string) {
		ring := c.s.o.Keyrings[prefix]
		if prefix == "" {
			ring = c.s.siteRing.Load()
		}
		if ring == nil {
			return
		}
		info, ok := ring.Info(fingerprint, c.s.o.Now())
		if !ok {
			return
		}
		at := math.Inf(1)
		if !info.Expires.IsZero() {
			at = float64(info.Expires.Unix())
		}
		ch <- prometheus.MustNewConstMetric(expires, prometheus.GaugeValue, at, prefix, info.Fingerprint)
	}
	if ring := c.s.siteRing.Load(); ring != nil {
		for _, fingerprint := range ring.Fingerprints() {
			key("", fingerprint)
		}
	}
	for _, h := range c.s.view.Load().current {
		if h == nil {
			continue
		}
		for id, t := range h.validities(ctx) {
			ch <- prometheus.MustNewConstMetric(until, prometheus.GaugeValue, float64(t.Unix()), id.prefix, id.suite)
		}
		for i := range h.Statement.Archives {
			for _, fingerprint := range h.Statement.Archives[i].UpstreamKeys {
				key(h.Statement.Archives[i].Prefix, fingerprint)
			}
		}
	}
}
