package probe

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// cleanup removes tags, manifests and blobs of the probe, and nothing else: each of them has the
// probe's random digits in its name or content. The empty config belongs to everybody and stays.
func (p *trial) cleanup(ctx context.Context) {
	tags := p.removeAll(ctx, "manifests", p.tags)
	var digests []string
	for _, d := range slices.Backward(p.pushed) { // an index before what it lists
		if !slices.Contains(digests, d.String()) {
			digests = append(digests, d.String())
		}
	}
	documents := p.removeAll(ctx, "manifests", digests)
	p.look(ctx, &documents, "manifests", digests)
	var names []string
	for _, b := range p.blobs {
		names = append(names, b.Digest.String())
	}
	blobs := p.removeAll(ctx, "blobs", names)
	p.look(ctx, &blobs, "blobs", names)
	p.told("deleting tags", tags)
	p.told("deleting manifests", documents)
	p.told("deleting blobs", blobs)

	for _, tag := range p.tags { // whoever deletes manifests may have deleted it, too
		if status, _, _, err := p.t.Do(ctx, http.MethodHead, "manifests", tag, "Accept", accept); err != nil || status != http.StatusNotFound {
			p.result.Left = append(p.result.Left, "tag "+tag)
		}
	}
	for _, d := range documents.left {
		p.result.Left = append(p.result.Left, "manifest "+d)
	}
	switch n := len(blobs.left); {
	case n == 0:
	case blobs.answer == No && n == len(names) && len(p.result.Left) == 0:
		p.result.Garbage = n
	default:
		p.result.Left = append(p.result.Left, fmt.Sprintf("blobs %d of %d", n, len(names)))
	}
}

const accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"

// removal is how the deletion of things of one kind went.
type removal struct {
	tried   int
	gone    int // by a DELETE that was answered 2xx
	left    []string
	untried int    // of these, not asked for after three failures in a row
	answer  Answer // of the first that was left
	why     string
}

// keep notes that something is left. A refusal is an answer, whatever else failed.
func (r *removal) keep(name string, a Answer, why string) {
	r.left = append(r.left, name)
	if r.why == "" || r.answer == Unknown && a == No {
		r.answer, r.why = a, why
	}
}

// removeAll deletes what it can. After three failures in a row it asks for no more.
func (p *trial) removeAll(ctx context.Context, kind string, names []string) removal {
	r := removal{tried: len(names), answer: Yes}
	failed := 0
	for _, name := range names {
		if failed == 3 {
			r.left = append(r.left, name)
			r.untried++
			continue
		}
		status, _, _, err := p.t.Do(ctx, http.MethodDelete, kind, name)
		switch {
		case err == nil && status/100 == 2:
			r.gone++
			failed = 0
		case err == nil && status == http.StatusNotFound: // it was never there, or went with another
		default:
			failed++
			r.keep(name, asked(status, err, false), "DELETE is answered "+statusOr(status, err))
		}
	}
	return r
}

// look asks for what was deleted: a registry may accept a DELETE and do nothing, or answer any
// DELETE with 404. After three that are there still it asks for no more: so are the others then.
func (p *trial) look(ctx context.Context, r *removal, kind string, names []string) {
	failed := 0
	for _, name := range names {
		if slices.Contains(r.left, name) {
			continue
		}
		if failed == 3 {
			r.left = append(r.left, name)
			continue
		}
		status, _, _, err := p.t.Do(ctx, http.MethodHead, kind, name, "Accept", accept)
		switch {
		case err == nil && status == http.StatusNotFound:
			failed = 0
		case err == nil && status == http.StatusOK:
			failed++
			r.keep(name, No, "what was to be deleted is there still")
		default:
			failed++
			r.keep(name, Unknown, "whether it is gone is not known: HEAD is answered "+statusOr(status, err))
		}
	}
}

func (p *trial) told(capability string, r removal) {
	text := r.why
	switch {
	case r.tried == 0:
		r.answer, text = Unknown, "nothing was pushed"
	case len(r.left) == 0:
		text = "what the probe pushed was deleted"
	case r.untried > 0:
		text += fmt.Sprintf("; %d of %d were not tried after that", r.untried, r.tried)
	}
	p.say(capability, false, r.answer, "%s", text)
}
