package serve

import (
	"github.com/prometheus/client_golang/prometheus"

	"example.org/mmoci/internal/store"
)

// snapshotCollector tells the snapshots in force.
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
	failing := snapshotDesc("follow_failing", "1 if the tag cannot be asked for now.")
	for i, l := range c.s.lanes {
		gauge := func(d *prometheus.Desc, v float64) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, l.source.Name())
		}
		bad, _ := l.state()
		gauge(failing, oneIf(bad))
		h := c.s.view.Load().current[i]
		gauge(ready, oneIf(h != nil))
		if h == nil {
			continue
		}
		gauge(snapshotDesc("date_seconds", "Date of the current snapshot, in Unix time."), float64(h.Statement.Date.Unix()))
		gauge(snapshotDesc("age_seconds", "Age of the current snapshot."), c.s.now().Sub(h.Statement.Date).Seconds())
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

// storeCollector tells the counts of a store.
type storeCollector struct{ stats func() store.Stats }

// Describe implements prometheus.Collector.
func (c storeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	st := c.stats()
	tell := func(kind prometheus.ValueType, name, help string, v float64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("mmoci_store_"+name, help, nil, nil), kind, v)
	}
	count := func(name, help string, v int64) { tell(prometheus.CounterValue, name, help, float64(v)) }
	count("hits_total", "Blobs opened from the store.", st.Hits)
	count("fetched_total", "Blobs fetched and kept.", st.Fetched)
	count("fetched_bytes_total", "Bytes of the blobs fetched and kept.", st.Bytes)
	count("failed_total", "Fetches that ended in an error or in wrong bytes.", st.Failed)
	count("lost_total", "Blobs kept that a failed sync lost before they were durable; they are fetched anew.", st.Lost)
	count("passed_total", "Blobs handed through without being kept.", st.Passed)
	count("corrupt_total", "Stored files that were not what their name says.", st.Corrupt)
	count("evicted_total", "Blobs removed to keep the bound.", st.Evicted)
	tell(prometheus.GaugeValue, "held_bytes", "Bytes on disk, as far as known; 0 without a bound.", float64(st.Held))
	tell(prometheus.GaugeValue, "read_only", "1 if the store's directory could not be written when the server started: nothing is kept.", oneIf(st.ReadOnly))
	tell(prometheus.GaugeValue, "refusing", "1 if the disk took no more the last time: full, read-only, broken.", oneIf(st.Refusing != nil))
	tell(prometheus.GaugeValue, "fetch_failing", "1 if the last file that was not held could not be had from a registry.", oneIf(st.Failing))
}
