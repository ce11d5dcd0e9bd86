package extract

import "example.org/mmoci/pkg/artifact"

// tell tells of one file.
func (o *outDir) tell(kind artifact.EventKind, name string, size int64) {
	if o.events != nil {
		o.events(artifact.Event{Kind: kind, Path: name, Digest: o.want[name].Digest, Bytes: size})
	}
}

// planned tells how much there is to write, and what of it is there; the part
// that an earlier run left of a file is no work for this one.
func (o *outDir) planned() {
	if o.events == nil {
		return
	}
	all := artifact.Event{Kind: artifact.Planned, Files: len(o.want), Bytes: o.total}
	for _, n := range o.parts {
		all.Bytes -= n
	}
	o.events(all)
	for name := range o.have {
		o.tell(artifact.Skipped, name, o.want[name].Size)
	}
}
