// Package probe tries what a registry can do with what mmoci asks of it: it pushes a synthetic
// snapshot of 100 files under a tag of its own, looks, and removes all of it.
package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot"
)

const (
	// files are in two manifests below one index, as those of a snapshot.
	files     = 100
	manifests = 2
	// TagPrefix begins the tags of a probe; 16 random hex digits follow.
	TagPrefix = "mmoci-probe-"
	// cleaning bounds the removal, which an interruption does not end.
	cleaning = time.Minute
)

// Answer is what a registry can do.
type Answer string

const (
	Yes Answer = "yes"
	No  Answer = "no"
	// Unknown is what was not tried, or failed in a way that says nothing of the capability: nobody listens, the
	// connection breaks, the credentials do not do, there are too many requests, or the registry has an error of its own.
	Unknown Answer = "unknown"
)

// Row is one capability of a registry.
type Row struct {
	Capability string `json:"capability"`
	Answer     Answer `json:"answer"`
	Text       string `json:"text"`
	Needed     bool   `json:"needed"` // a push or its readers do not work without
}

// Result is what a probe found.
type Result struct {
	Repository string `json:"repository"`
	Tag        string `json:"tag"` // that all was pushed under
	Rows       []Row  `json:"rows"`
	// Left are tags, manifests and blobs of the probe that could not be removed, or are not known to be gone.
	Left []string `json:"left"`
	// Garbage is how many blobs of the probe stay because the registry deletes no blobs. No
	// manifest names them any more, so its garbage collection takes them.
	Garbage int `json:"garbage"`
}

// Verdict is nil if the registry can hold snapshots and nothing of the probe is left there for anybody to remove.
func (r *Result) Verdict() error {
	switch no, unknown := r.needed(No), r.needed(Unknown); {
	case len(r.Left) > 0:
		return fmt.Errorf("the probe could not remove all that it pushed to %s: %s; remove it there, or let its retention rules", r.Repository, strings.Join(r.Left, ", "))
	case len(no) > 0:
		return fmt.Errorf("%s cannot hold snapshots: %s", r.Repository, strings.Join(no, ", "))
	case len(unknown) > 0:
		return fmt.Errorf("whether %s can hold snapshots is not known, it gave no answer about %s; probe it again", r.Repository, strings.Join(unknown, ", "))
	}
	return nil
}

// needed lists the needed capabilities that have this answer.
func (r *Result) needed(a Answer) []string {
	var list []string
	for _, row := range r.Rows {
		if row.Needed && row.Answer == a {
			list = append(list, row.Capability)
		}
	}
	return list
}

// trial is one probe. What it is about to put is noted before it is put, so that whatever ends it, cleanup knows all.
type trial struct {
	t        *remote.Trial
	nonce    string
	result   *Result
	blobs    []oci.Descriptor
	tags     []string
	pushed   []snapshot.Digest // manifests and indices, in the order that they were put
	manifest []oci.Descriptor  // of the files
}

// Run probes the repository of a reference. Whether it ends well, fails or is interrupted, it removes what it pushed,
// and the result says what it could not remove. The error is that of ctx, or that the
// registry cannot be written to at all.
func Run(ctx context.Context, ref oci.Reference, o *remote.Options) (*Result, error) {
	t, err := remote.Try(ref, o)
	if err != nil {
		return nil, err
	}
	random := make([]byte, 8)
	rand.Read(random)
	p := &trial{t: t, nonce: hex.EncodeToString(random), result: &Result{Repository: ref.Name, Left: []string{}}}
	p.result.Tag = TagPrefix + p.nonce
	err = p.try(ctx)
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleaning)
	defer cancel()
	p.cleanup(clean)
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return p.result, err
}

// say notes an answer.
func (p *trial) say(capability string, needed bool, a Answer, text string, args ...any) {
	p.result.Rows = append(p.result.Rows, Row{capability, a, fmt.Sprintf(text, args...), needed})
}

// pushed tells the answer of what was pushed.
func pushed(err error) Answer {
	switch {
	case err == nil:
		return Yes
	case remote.Refused(err):
		return No
	}
	return Unknown
}

// asked tells the answer of a request that the registry answered with a status, or not at all.
func asked(status int, err error, ok bool) Answer {
	switch {
	case err != nil:
		return pushed(err)
	case ok:
		return Yes
	case status >= 400 && !remote.RefusedStatus(status):
		return Unknown
	}
	return No
}

func (p *trial) try(ctx context.Context) error {
	if err := p.putFiles(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context){p.layers, p.indexWidth, p.large, p.ranges, p.heads, p.lists, p.moves, p.referrers, p.mounts} {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		step(ctx)
	}
	return nil
}

// put puts a document and notes it.
func (p *trial) put(ctx context.Context, mediaType string, data []byte, tag string) (oci.Descriptor, error) {
	if tag != "" && !slices.Contains(p.tags, tag) {
		p.tags = append(p.tags, tag)
	}
	p.pushed = append(p.pushed, snapshot.BlobOf(data).Digest)
	return p.t.PutManifest(ctx, mediaType, data, tag)
}

// putFiles pushes the snapshot, and reads it back.
func (p *trial) putFiles(ctx context.Context) error {
	if _, err := p.t.PutBlob(ctx, oci.TypeEmpty, []byte(oci.EmptyConfig)); err != nil {
		p.say("blobs", true, pushed(err), "%v", err)
		return err
	}
	for i := range files {
		data := fmt.Appendf(nil, "mmoci probe %s, file %d\n", p.nonce, i)
		p.blobs = append(p.blobs, oci.Describe(oci.TypeOctets, snapshot.BlobOf(data)))
		if _, err := p.t.PutBlob(ctx, oci.TypeOctets, data); err != nil {
			p.say("blobs", true, pushed(err), "file %d of %d: %v", i+1, files, err)
			return err
		}
	}
	p.say("blobs", true, Yes, "%d files were pushed", files)
	for part := range slices.Chunk(p.blobs, files/manifests) {
		d, err := p.put(ctx, oci.TypeManifest, p.shard(part), "")
		if err != nil {
			p.say("empty config", true, pushed(err), "a manifest with an empty config and an artifactType: %v", err)
			return err
		}
		p.manifest = append(p.manifest, d)
	}
	p.say("empty config", true, Yes, "manifests with an empty config and an artifactType are taken")
	root := oci.EncodeIndex(p.manifest)
	d, err := p.put(ctx, oci.TypeIndex, root, p.result.Tag)
	if err != nil {
		p.say("index", true, pushed(err), "an index of %d manifests, tagged: %v", manifests, err)
		return err
	}
	status, _, body, err := p.t.Do(ctx, http.MethodGet, "manifests", p.result.Tag, "Accept", oci.TypeIndex)
	same := err == nil && status == http.StatusOK && bytes.Equal(body, root)
	p.say("index", true, asked(status, err, same), "an index of %d manifests, tagged, is answered %s", manifests, answered(status, err, same))
	status, _, body, err = p.t.Do(ctx, http.MethodGet, "manifests", d.Digest.String(), "Accept", oci.TypeIndex)
	same = err == nil && status == http.StatusOK && bytes.Equal(body, root)
	p.say("same bytes", true, asked(status, err, same), "by digest it is answered %s", answered(status, err, same))
	return ctx.Err()
}

func answered(status int, err error, same bool) string {
	switch {
	case err != nil:
		return "with an error: " + err.Error()
	case status != http.StatusOK:
		return fmt.Sprint(status)
	case !same:
		return "with other bytes"
	}
	return "with the same bytes"
}

func (p *trial) shard(layers []oci.Descriptor) []byte {
	m := oci.Manifest{ArtifactType: oci.TypeShard, Config: oci.EmptyConfigDescriptor(), Layers: layers}
	return m.Encode()
}

// layers tries the widest manifest that the format has.
func (p *trial) layers(ctx context.Context) {
	data := p.shard(slices.Repeat(p.blobs, oci.MaxLayers/files))
	_, err := p.put(ctx, oci.TypeManifest, data, "")
	p.say("manifest width", true, pushed(err), "a manifest of %d layers, %d bytes: %s", oci.MaxLayers, len(data), taken(err))
}

func taken(err error) string {
	if err != nil {
		return err.Error()
	}
	return "taken"
}

// index puts an index of almost so many bytes.
func (p *trial) index(ctx context.Context, size int) (children, length int, err error) {
	each := len(oci.AppendDescriptor(nil, p.manifest[0])) + 1
	list := slices.Repeat(p.manifest, (size-200)/each/manifests)
	data := oci.EncodeIndex(list)
	_, err = p.put(ctx, oci.TypeIndex, data, "")
	return len(list), len(data), err
}

func (p *trial) indexWidth(ctx context.Context) {
	n, size, err := p.index(ctx, oci.MaxDocument)
	p.say("index width", true, pushed(err), "an index of %d manifests, %d bytes, the largest that the format has: %s", n, size, taken(err))
}

func (p *trial) large(ctx context.Context) {
	_, size, err := p.index(ctx, oci.MaxImageDocument)
	p.say("manifest size", false, pushed(err), "a document of %d bytes, the largest of the images that are copied: %s", size, taken(err))
}

func (p *trial) ranges(ctx context.Context) {
	status, _, _, err := p.t.Do(ctx, http.MethodGet, "blobs", p.blobs[0].Digest.String(), "Range", "bytes=6-")
	p.say("range", false, asked(status, err, status == http.StatusPartialContent), "a Range of a blob is answered %s", statusOr(status, err))
}

func statusOr(status int, err error) string {
	if err != nil {
		return "with an error: " + err.Error()
	}
	return fmt.Sprint(status)
}

func (p *trial) heads(ctx context.Context) {
	status, h, _, err := p.t.Do(ctx, http.MethodHead, "manifests", p.result.Tag, "Accept", oci.TypeIndex)
	a := asked(status, err, err == nil && status == http.StatusOK && h.Get("Docker-Content-Digest") != "")
	text := "HEAD of a tag tells its digest"
	switch {
	case a == Unknown:
		text = "HEAD of a tag is answered " + statusOr(status, err)
	case a == No:
		text = "HEAD of a tag tells no digest; it is read whole each time"
	}
	p.say("digest of a tag", false, a, "%s", text)
}

func (p *trial) lists(ctx context.Context) {
	status, _, body, err := p.t.Do(ctx, http.MethodGet, "tags", "list?n=10000")
	var list struct {
		Tags []string `json:"tags"`
	}
	ok := err == nil && status == http.StatusOK && json.Unmarshal(body, &list) == nil
	p.say("tag list", false, asked(status, err, ok), "the list of tags is answered %s", statusOr(status, err))
}

// moves tries to move the tag to another document of the probe, and notes whether tags are immutable.
func (p *trial) moves(ctx context.Context) {
	root := oci.EncodeIndex(p.manifest[:1])
	_, err := p.put(ctx, oci.TypeIndex, root, p.result.Tag)
	text := "a tag can be moved; it is not immutable"
	switch {
	case remote.Refused(err):
		text = fmt.Sprintf("tags are immutable: %v", err)
	case err != nil:
		text = err.Error()
	}
	p.say("moving tags", false, pushed(err), "%s", text)
}

func (p *trial) referrers(ctx context.Context) {
	status, _, body, err := p.t.Do(ctx, http.MethodGet, "referrers", p.manifest[0].Digest.String(), "Accept", oci.TypeIndex)
	ok := err == nil && status == http.StatusOK && strings.Contains(string(body), oci.TypeIndex)
	p.say("referrers", false, asked(status, err, ok), "the list of what refers to a manifest is answered %s", statusOr(status, err))
}

// mounts asks for a blob that the repository has, and names the repository itself as the one that has it: so no other
// one is touched, and whether it works from another one, which credentials may forbid, is not tried.
func (p *trial) mounts(ctx context.Context) {
	status, h, _, err := p.t.Do(ctx, http.MethodPost, "blobs", "uploads/?mount="+p.blobs[0].Digest.String()+"&from="+p.t.Repository())
	p.say("mounts", false, asked(status, err, status == http.StatusCreated), "a mount of a blob from this repository itself is answered %s", statusOr(status, err))
	if err == nil && status == http.StatusAccepted { // an upload was opened
		if _, session, ok := strings.Cut(h.Get("Location"), "/blobs/"); ok {
			_, _, _, _ = p.t.Do(context.WithoutCancel(ctx), http.MethodDelete, "blobs", session)
		}
	}
}
