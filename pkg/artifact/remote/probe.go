package remote

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// Finding is one thing that was tried at a registry.
type Finding struct {
	What   string
	OK     bool   // false: a push or a reader will meet it
	Text   string // how it is
	Remedy string // what to do about it, "" if nothing need be
}

// probeTag is what the probe's manifests are tagged with, and removed by.
const probeTag = "mmoci-doctor"

// Probe tries what mmoci asks of a registry: reach and credentials, its clock,
// and if write is set, in the repository of ref and under the tag
// mmoci-doctor, uploads, manifests of 400 layers, an index of 1 MiB, Range, moving a tag
// and DELETE. It stops where going on makes no sense. ctx ends it; nothing else is an error.
func Probe(ctx context.Context, ref oci.Reference, now time.Time, write bool, o *Options) []Finding {
	r, err := Open(ref, o)
	if err != nil {
		return []Finding{{What: "reference", Text: err.Error(), Remedy: "correct the reference or the CA files"}}
	}
	p := &prober{r: r, now: now}
	if !p.reach(ctx) || !write {
		return p.found
	}
	r.actions = []string{"pull", "push"}
	if p.upload(ctx) {
		p.limits(ctx)
		p.ranges(ctx)
		p.moving(ctx)
		p.removing(ctx)
	}
	return p.found
}

type prober struct {
	r     *Repository
	now   time.Time
	found []Finding
	tags  []oci.Tag // that were set
}

func (p *prober) say(what string, ok bool, text, remedy string) bool {
	if ok {
		remedy = ""
	}
	p.found = append(p.found, Finding{what, ok, text, remedy})
	return ok
}

// maxSkew is how far clocks may differ: apt takes a Release whose Date is no
// more than ten seconds in the future.
const maxSkew = 10 * time.Second

// reach asks for the tag; that it is not there is an answer too.
func (p *prober) reach(ctx context.Context) bool {
	_, err := p.r.Resolve(ctx, oci.Reference{Kind: oci.Registry, Name: p.r.ref.Name, Tag: p.r.ref.Tag})
	switch {
	case err == nil:
		p.say("registry", true, p.r.ref.Host()+" is there, and the tag "+p.r.ref.Tag, "")
	case errors.Is(err, oci.ErrNotFound):
		p.say("registry", true, p.r.ref.Host()+" is there; no tag "+p.r.ref.Tag+" yet", "")
	default:
		return p.say("registry", false, err.Error(), "see the message; permission for plain HTTP, a CA, docker login or no_proxy may be what is missing")
	}
	ctx, watch := transfer.NewWatch(ctx, p.r.stall)
	defer watch.Stop()
	resp, err := p.r.request(ctx, p.r.client.follow, http.MethodHead, "manifests", p.r.ref.Tag, "Accept", accepted)
	if err != nil {
		return true
	}
	resp.Body.Close()
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		skew := p.now.Sub(date).Abs().Truncate(time.Second)
		p.say("clock", skew <= maxSkew, fmt.Sprintf("%s between this host and the registry", skew), "set the clocks (NTP): apt refuses a Release of the future, and an expired one")
	}
	return true
}

func probeBlob() []byte { return []byte("mmoci doctor looks what this registry can do\n") }

// put sends a blob from memory.
func (p *prober) put(ctx context.Context, mediaType string, data []byte) (oci.Descriptor, error) {
	d := oci.Describe(mediaType, snapshot.BlobOf(data))
	t := Target{Repository: p.r}
	_, err := t.Put(ctx, oci.Layer{Descriptor: d}, func(context.Context, snapshot.Blob) (oci.Verified, error) { return oci.InMemory(data), nil })
	return d, err
}

func (p *prober) upload(ctx context.Context) bool {
	_, err := p.put(ctx, oci.TypeEmpty, []byte(oci.EmptyConfig))
	if err == nil {
		_, err = p.put(ctx, oci.TypeOctets, probeBlob())
	}
	if err != nil {
		return p.say("upload", false, err.Error(), "give these credentials the right to push")
	}
	return p.say("upload", true, "blobs can be pushed", "")
}

// manifest makes a shard of n times the probe's blob.
func (p *prober) manifest(n int) (oci.Descriptor, []byte) {
	m := oci.Manifest{ArtifactType: oci.TypeShard, Config: oci.EmptyConfigDescriptor()}
	m.Layers = slices.Repeat([]oci.Descriptor{oci.Describe(oci.TypeOctets, snapshot.BlobOf(probeBlob()))}, n)
	data := m.Encode()
	return oci.Describe(oci.TypeManifest, snapshot.BlobOf(data)), data
}

func (p *prober) tag(ctx context.Context, tag string, d oci.Descriptor, data []byte) error {
	err := Target{Repository: p.r}.putManifest(ctx, d, data, tag)
	if err == nil {
		p.tags = append(p.tags, oci.Tag{Name: tag, Digest: d.Digest})
	}
	return err
}

func (p *prober) limits(ctx context.Context) {
	d, data := p.manifest(oci.MaxLayers)
	if err := p.tag(ctx, probeTag, d, data); err != nil {
		p.say("layers", false, fmt.Sprintf("a manifest of %d layers: %v", oci.MaxLayers, brief(err)), "raise the registry's limits; the format needs 400 layers a manifest")
		return
	}
	p.say("layers", true, fmt.Sprintf("manifests of %d layers are taken", oci.MaxLayers), "")
	n := (oci.MaxDocument - 200) / len(oci.AppendDescriptor(nil, d))
	index := oci.EncodeIndex(slices.Repeat([]oci.Descriptor{d}, n-n/100))
	err := p.tag(ctx, probeTag+"-root", oci.Describe(oci.TypeIndex, snapshot.BlobOf(index)), index)
	text := fmt.Sprintf("an index of %d bytes is taken", len(index))
	if err != nil {
		text = fmt.Sprintf("an index of %d bytes: %v", len(index), brief(err))
	}
	p.say("root size", err == nil, text, "raise the registry's manifest limit to 4 MiB, or push smaller snapshots")
}

func (p *prober) ranges(ctx context.Context) {
	ctx, watch := transfer.NewWatch(ctx, p.r.stall)
	defer watch.Stop()
	blob := snapshot.BlobOf(probeBlob())
	resp, err := p.r.request(ctx, p.r.client.follow, http.MethodGet, "blobs", blob.Digest.String(), "Range", "bytes=6-")
	if err != nil {
		p.say("range", false, watch.Reason(err).Error(), "see the message")
		return
	}
	resp.Body.Close()
	p.say("range", resp.StatusCode == http.StatusPartialContent, fmt.Sprintf("a Range of a blob is answered %d", resp.StatusCode),
		"broken downloads start over; let the proxy before the registry pass Range")
}

func (p *prober) moving(ctx context.Context) {
	d, data := p.manifest(1)
	if err := p.tag(ctx, probeTag, d, data); err != nil {
		p.say("moving tags", false, fmt.Sprintf("a tag cannot be moved: %v", brief(err)), "push to a new tag each time, or let the registry's rule spare the alias")
		return
	}
	p.say("moving tags", true, "a tag can be moved", "")
}

// removing removes what the probe left.
func (p *prober) removing(ctx context.Context) {
	var first error // one line is enough
	for _, t := range slices.Backward(p.tags) {
		status, err := p.r.deleteReference(ctx, t.Name)
		if err == nil && !isGone(status) {
			status, err = p.r.deleteReference(ctx, t.Digest.String()) // of the probe's own
		}
		if err == nil && !isGone(status) {
			err = fmt.Errorf("it is answered %d", status)
		}
		if first == nil {
			first = err
		}
	}
	if first != nil {
		p.say("delete", false, "DELETE is not allowed: "+first.Error(),
			"checkpoints and pruned tags stay (mmoci-doctor too): allow it, or let the registry's retention rules remove them")
		return
	}
	p.say("delete", true, "tags can be removed", "")
}
