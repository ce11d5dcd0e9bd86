package others

import (
	"context"

	"example.org/mmoci/internal/fileset"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/rpmrepo"
	"example.org/mmoci/internal/taken"
	"example.org/mmoci/internal/upstream"
)

// Probed is what was found where one archive is read from.
type Probed struct {
	Prefix string
	Text   string               // what is there, in words
	Err    error                // why it could not be read, or not be believed
	Places []*upstream.Upstream // that were asked, as far as known
}

// Probe looks whether each archive that Read would read is where the plan says, under the signature that the plan wants,
// and reads no more of it than that needs. f is used but for Lock: what counts is what is there now. Keep is not used.
func (r Reader) Probe(ctx context.Context, f freeze.Options) []Probed {
	f.Lock = nil
	var out []Probed
	snapshots := &taken.Reader{Site: r.Site, Artifact: r.Artifact}
	for i := range f.Plan.Others {
		o := &f.Plan.Others[i]
		if len(o.Merge) > 0 { // of others
			continue
		}
		p := Probed{Prefix: o.Prefix}
		switch {
		case o.From != "":
			p.Text, p.Err = snapshots.Probe(ctx, f, o)
		case o.Files != nil:
			p.Text, p.Places, p.Err = fileset.Probe(ctx, fileset.Options{Plan: o.Files, Now: f.Now, Log: f.Log})
		case o.RPM != nil:
			p.Text, p.Places, p.Err = rpmrepo.Probe(ctx, o.RPM, rpmrepo.Options{Keys: f.Keys, Now: f.Now, Log: f.Log})
		}
		out = append(out, p)
	}
	return out
}
