package push

import (
	"net/url"
	"path"
	"slices"
	"strings"

	"example.org/mmoci/internal/fetchreport"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/listed"
)

// report tells whoever asked where the files of a snapshot came from.
func (o Options) report(f *freeze.Frozen, files *listed.Result, missing []string, incomplete *Incomplete, err error) {
	if o.Report == nil {
		return
	}
	r := &fetchreport.Report{Complete: err == nil && incomplete == nil, Missing: missing, Files: f.Fetched()}
	if incomplete != nil {
		r.Missing = incomplete.Missing
	}
	for i := range r.Files {
		o.ofList(&r.Files[i], files)
	}
	r.Sort()
	o.Report(r)
}

// ofList says of a file that a list names by URL which of its URLs gave it, and not that it lay in a directory then.
func (o Options) ofList(e *fetchreport.File, files *listed.Result) {
	if e.Kind != fetchreport.Own {
		return
	}
	for _, f := range files.Files {
		if f.Tries == 0 || f.Digest.String() != e.Digest {
			continue
		}
		e.Kind, e.From, e.Tries, e.Failures = fetchreport.Upstream, f.URL, f.Tries, f.Failures
		for _, a := range o.Plan.Archives {
			if a.Prefix == e.Archive && slices.ContainsFunc(a.Mirrors, func(m string) bool { return placeOf(m) == f.URL }) {
				e.Kind = fetchreport.Mirror
			}
		}
	}
}

// placeOf is what is said of the place of a file, by the file's address.
func placeOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawPath, u.Path = nil, "", strings.TrimRight(strings.TrimSuffix(u.Path, path.Base(u.Path)), "/")
	return u.String()
}
