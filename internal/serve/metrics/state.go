package metrics

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/mmoci/internal/store"
)

// State is what is read from a server when metrics are asked for. Its functions are
// called concurrently; nil ones report nothing.
type State struct {
	Version    string                             // of the program
	References func() []Reference                 // what is followed
	Expiries   func(ctx context.Context) []Expiry // what clients rely on and when it ends; what cannot be read before ctx ends is left out
	Files      func() map[string]error            // what is read again when it changes, by its kind, with why it cannot be used as it is now
	Store      func() store.Stats
	Mirrors    func() []Mirror // that clients are sent to
}

// Mirror is a mirror that clients are sent to.
type Mirror struct {
	Name             string // of the list, not a client's
	Used             bool   // clients are sent there now
	Redirects, Bytes int64
	Faults           map[string]int64 // by kind, every kind
}

// Reference is a reference that is followed.
type Reference struct {
	Name       string
	Failing    bool      // its tag cannot be resolved now
	Ready      bool      // the server is ready, as far as this reference goes
	Present    bool      // there is a snapshot to answer from; what follows is that snapshot's
	Missing    int       // indices that are to be fetched ahead and are not here yet
	Date       time.Time // of the snapshot
	Age        time.Duration
	Files      int
	ValidUntil time.Time // of the statement; zero: none
}

// Expiry is the end of upstream's Release of a suite, or of a key.
type Expiry struct {
	Archive     string    // "" for the site's own keys
	Suite       string    // of a Release
	Fingerprint string    // of a key; "": this is a Release
	At          time.Time // zero: never, of a key
}

// readWait bounds how long metrics wait for what must be read first; it is reported the next time.
const readWait = 2 * time.Second

func (s State) collectors() []prometheus.Collector {
	var list []prometheus.Collector
	if s.References != nil {
		list = append(list, referenceCollector{s.References})
	}
	if s.Expiries != nil {
		list = append(list, expiryCollector{s.Expiries})
	}
	if s.Files != nil {
		list = append(list, fileCollector{s.Files})
	}
	if s.Store != nil {
		list = append(list, storeCollector{s.Store})
	}
	if s.Mirrors != nil {
		list = append(list, mirrorCollector{s.Mirrors})
	}
	return list
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("mmoci_"+name, help, labels, nil)
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

var (
	readyDesc      = desc("snapshot_ready", "1 if the reference has a snapshot to answer from, and the indices that are to be fetched ahead are here or were given up.", "reference")
	failingDesc    = desc("snapshot_follow_failing", "1 if the tag cannot be resolved now, or its snapshot not be had.", "reference")
	dateDesc       = desc("snapshot_date_seconds", "Date of the current snapshot, in Unix time.", "reference")
	ageDesc        = desc("snapshot_age_seconds", "Age of the current snapshot.", "reference")
	filesDesc      = desc("snapshot_files", "Files of the current snapshot.", "reference")
	missingDesc    = desc("snapshot_indices_missing", "Indices of the current snapshot that are to be fetched ahead and are not here yet.", "reference")
	validUntilDesc = desc("snapshot_valid_until_seconds", "End of the statement's validity, in Unix time, if it has one.", "reference")

	untilDesc = desc("release_valid_until_seconds",
		"End of the validity of upstream's current Release, in Unix time, where it has one.", "archive", "suite")
	expiresDesc = desc("key_expires_seconds",
		"When a key that signs what is served expires, in Unix time; +Inf if never. No archive is named for the site's own.", "archive", "fingerprint")

	reloadDesc = desc("reload_failing",
		"1 if a file that is read again when it changes (policy, certificate, credentials) cannot be used as it is now; what was read before is in force.", "file")
)

// referenceCollector reports the references and their current snapshots.
type referenceCollector struct{ references func() []Reference }

// Describe implements prometheus.Collector.
func (c referenceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{readyDesc, failingDesc, dateDesc, ageDesc, filesDesc, missingDesc, validUntilDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c referenceCollector) Collect(ch chan<- prometheus.Metric) {
	for _, r := range c.references() {
		gauge(ch, failingDesc, oneIf(r.Failing), r.Name)
		gauge(ch, readyDesc, oneIf(r.Ready), r.Name)
		if !r.Present {
			continue
		}
		gauge(ch, missingDesc, float64(r.Missing), r.Name)
		gauge(ch, dateDesc, float64(r.Date.Unix()), r.Name)
		gauge(ch, ageDesc, r.Age.Seconds(), r.Name)
		gauge(ch, filesDesc, float64(r.Files), r.Name)
		if !r.ValidUntil.IsZero() {
			gauge(ch, validUntilDesc, float64(r.ValidUntil.Unix()), r.Name)
		}
	}
}

// expiryCollector reports when what clients rely on ends: upstream's Releases, and the keys that sign them.
type expiryCollector struct {
	expiries func(context.Context) []Expiry
}

// Describe implements prometheus.Collector.
func (c expiryCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- untilDesc
	ch <- expiresDesc
}

// Collect implements prometheus.Collector.
func (c expiryCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readWait)
	defer cancel()
	for _, e := range c.expiries(ctx) {
		switch {
		case e.Fingerprint == "":
			gauge(ch, untilDesc, float64(e.At.Unix()), e.Archive, e.Suite)
		case e.At.IsZero():
			gauge(ch, expiresDesc, math.Inf(1), e.Archive, e.Fingerprint)
		default:
			gauge(ch, expiresDesc, float64(e.At.Unix()), e.Archive, e.Fingerprint)
		}
	}
}

// fileCollector reports the files that are read again.
type fileCollector struct{ files func() map[string]error }

// Describe implements prometheus.Collector.
func (c fileCollector) Describe(ch chan<- *prometheus.Desc) { ch <- reloadDesc }

// Collect implements prometheus.Collector.
func (c fileCollector) Collect(ch chan<- prometheus.Metric) {
	for kind, err := range c.files() {
		gauge(ch, reloadDesc, oneIf(err != nil), kind)
	}
}

// storeCollector reports the counts of a store.
type storeCollector struct{ stats func() store.Stats }

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.stats()
	report := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(desc("store_"+name, help), kind, v)
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

type mirrorCollector struct{ mirrors func() []Mirror }

var (
	mirrorUsedDesc = desc("mirror_used", "1 if clients are sent to the mirror, 0 while it is left.", "mirror")
	redirectsDesc  = desc("redirects_total", "Requests answered with a redirect to the mirror.", "mirror")
	redirectedDesc = desc("redirected_bytes_total", "Size of what clients were sent to the mirror for.", "mirror")
	faultsDesc     = desc("mirror_faults_total", "What was found at the mirror: dead, slow, refuses, redirects, itself, wrong (bytes), missing (blobs).", "mirror", "fault")
)

// Describe implements prometheus.Collector.
func (c mirrorCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{mirrorUsedDesc, redirectsDesc, redirectedDesc, faultsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c mirrorCollector) Collect(ch chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for _, m := range c.mirrors() {
		gauge(ch, mirrorUsedDesc, oneIf(m.Used), m.Name)
		count(redirectsDesc, m.Redirects, m.Name)
		count(redirectedDesc, m.Bytes, m.Name)
		for fault, n := range m.Faults {
			count(faultsDesc, n, m.Name, fault)
		}
	}
}
