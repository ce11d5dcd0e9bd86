package serve

import (
	"context"
	"maps"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"example.org/mmoci/pkg/archive"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// releaseWait bounds how long metrics wait for upstream's Release files; what
// is not there then is told the next time.
const releaseWait = 2 * time.Second

// maxRelease is the limit of a Release file, in bytes.
const maxRelease = snapshot.MaxRelease

// validUntil reads how long upstream's Release of a suite is valid; zero: for
// ever, or there is none of upstream's.
func validUntil(ctx context.Context, h *held, suite *snapshot.Suite) (time.Time, error) {
	for _, role := range []snapshot.Role{snapshot.UpstreamInRelease, snapshot.InRelease, snapshot.UpstreamRelease, snapshot.Release} {
		f := suite.File(role)
		if f == nil {
			continue
		}
		data, err := h.ReadBlob(ctx, f.Blob, maxRelease)
		if err != nil {
			return time.Time{}, err
		}
		open := archive.OpenInRelease
		if role == snapshot.Release || role == snapshot.UpstreamRelease {
			open = func(b []byte, t pgp.Trust) (*archive.Release, error) { return archive.OpenRelease(b, nil, t) }
		}
		r, err := open(data, pgp.Trust{})
		if err != nil {
			return time.Time{}, err
		}
		return r.ValidUntil, nil
	}
	return time.Time{}, nil
}

// suiteID names a suite of an archive.
type suiteID struct{ prefix, suite string }

// validities are the ends of validity of the suites of a snapshot that have
// one. They are read once; what cannot be read now is tried again.
func (h *held) validities(ctx context.Context) map[suiteID]time.Time {
	for i := range h.Statement.Archives {
		a := &h.Statement.Archives[i]
		for j := range a.Suites {
			id := suiteID{a.Prefix, a.Suites[j].Name}
			if _, known := h.valid.get(id); known || ctx.Err() != nil {
				continue
			}
			if t, err := validUntil(ctx, h, &a.Suites[j]); err == nil {
				h.valid.put(id, t)
			}
		}
	}
	h.valid.mu.Lock()
	defer h.valid.mu.Unlock()
	until := maps.Clone(h.valid.until)
	maps.DeleteFunc(until, func(_ suiteID, t time.Time) bool { return t.IsZero() })
	return until
}

// expires tells whether upstream's Release of a suite has a Valid-Until. What could not be read is taken to.
func (h *held) expires(id suiteID) bool {
	t, known := h.valid.get(id)
	return !known || !t.IsZero()
}

// learn reads the validities of a snapshot, as far as that is possible now.
func (ex *exchange) learn(h *held) {
	ctx, cancel := ex.patient()
	defer cancel()
	h.validities(ctx)
}

func (v *validity) get(id suiteID) (until time.Time, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	until, known = v.until[id]
	return until, known
}

func (v *validity) put(id suiteID, until time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.until[id] = until
}

// validityCollector tells when what clients rely on ends: upstream's Releases,
// and the keys that they are signed with.
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

// Describe implements prometheus.Collector. It collects nothing: it is called
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
		info, ok := ring.Info(fingerprint, c.s.now())
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
