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
	p.look(ctx, &documents, digests)
	var names []string
	for _, b := range p.blobs {
		names = append(names, b.Digest.String())
	}
	blobs := p.removeAll(ctx, "blobs", names)
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
	if n := len(blobs.left); n > 0 && n < len(names) { // where none can be deleted, the registry's garbage collection does
		p.result.Left = append(p.result.Left, fmt.Sprintf("%d blobs", n))
	}
}

const accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"

// removal is how the deletion of things of one kind went.
type removal struct {
	tried int
	gone  int // by a DELETE that was answered 2xx
	left  []string
	why   string // of the first that was left
}

// removeAll deletes what it can. After three refusals in a row it asks for no more.
func (p *trial) removeAll(ctx context.Context, kind string, names []string) removal {
	r := removal{tried: len(names)}
	refused := 0
	for _, name := range names {
		status, err := 0, error(nil)
		if refused < 3 {
			status, _, _, err = p.t.Do(ctx, http.MethodDelete, kind, name)
		}
		switch {
		case err == nil && status/100 == 2:
			r.gone++
			refused = 0
			continue
		case err == nil && status == http.StatusNotFound: // it was never there, or went with another
			continue
		case r.why == "" && err != nil:
			r.why = err.Error()
		case r.why == "":
			r.why = fmt.Sprintf("DELETE is answered %d", status)
		}
		refused++
		r.left = append(r.left, name)
	}
	return r
}

// look asks for what was deleted: a registry may accept a DELETE and do nothing.
func (p *trial) look(ctx context.Context, r *removal, digests []string) {
	for _, d := range digests {
		if slices.Contains(r.left, d) {
			continue
		}
		status, _, _, err := p.t.Do(ctx, http.MethodHead, "manifests", d, "Accept", accept)
		if err == nil && status != http.StatusOK {
			continue
		}
		r.left = append(r.left, d)
		switch {
		case r.why != "":
		case err != nil:
			r.why = err.Error()
		default:
			r.why = "DELETE is accepted, and what it is about is there still"
		}
	}
}

func (p *trial) told(capability string, r removal) {
	switch {
	case r.tried == 0:
		p.result.Rows = append(p.result.Rows, Row{Capability: capability, Answer: Unknown, Text: "nothing was pushed"})
	case len(r.left) > 0:
		p.say(capability, false, false, "%s", r.why)
	default:
		p.say(capability, false, true, "what the probe pushed was deleted")
	}
}
