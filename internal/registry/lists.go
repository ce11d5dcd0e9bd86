package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

const typeJSON = "application/json"

func isNotExist(err error) bool { return errors.Is(err, snapshot.ErrNotExist) }

// Welcome is the answer to /v2/.
func Welcome() *Answer { return &Answer{Body: []byte("{}\n"), MediaType: typeJSON} }

// ListTags answers with the tags of a name (distribution-spec, "Listing Tags"). self is the path that was asked for.
// Listed are the current snapshots and their images; older snapshots are answered and not listed.
func (s *Site) ListTags(p Path, self string, query url.Values) (*Answer, error) {
	holders, err := s.holders(p.Name, query.Get("ns"))
	if err != nil {
		return nil, err
	}
	var tags []string
	for _, f := range holders {
		switch {
		case f.opens:
		case f.image != nil:
			tags = append(tags, f.image.tag)
		default:
			tags = append(tags, f.tags()...)
		}
	}
	page, link, err := paged(tags, self, query)
	if err != nil {
		return nil, err
	}
	return list(struct {
		Name string   `json:"name"`
		Tags []string `json:"tags"`
	}{p.Name, page}, link)
}

// Catalog answers with all names: of images with their host, of snapshots their repository.
func (s *Site) Catalog(self string, query url.Values) (*Answer, error) {
	var names []string
	for _, h := range s.Current {
		names = append(names, h.home.Repository)
		for _, m := range h.images {
			name := m.host + "/" + m.repository
			if _, _, _, plain := snapshot.CutImageName("h/" + name + ":t"); !plain {
				name = m.repository // a port or an address: clients could not say it
			}
			names = append(names, name)
		}
	}
	page, link, err := paged(names, self, query)
	if err != nil {
		return nil, err
	}
	return list(struct {
		Repositories []string `json:"repositories"`
	}{page}, link)
}

func list(v any, link string) (*Answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	a := &Answer{Body: append(body, '\n'), MediaType: typeJSON, Header: map[string]string{}}
	if link != "" {
		a.Header["Link"] = link
	}
	return a, nil
}

// paged sorts names and takes the page that n and last of the query ask for.
func paged(names []string, self string, query url.Values) (page []string, link string, err error) {
	slices.Sort(names)
	names = slices.Compact(names)
	n := MaxPage
	if text := query.Get("n"); text != "" {
		asked, err := strconv.Atoi(text)
		if err != nil || asked < 0 {
			return nil, "", &Error{Status: http.StatusBadRequest, Code: "PAGINATION_NUMBER_INVALID", Message: "the parameter n is no number"}
		}
		n = min(n, asked)
	}
	if last := query.Get("last"); last != "" {
		i, there := slices.BinarySearch(names, last)
		if there {
			i++
		}
		names = names[i:]
	}
	page = append([]string{}, names[:min(n, len(names))]...)
	if len(page) == 0 || len(page) == len(names) {
		return page, "", nil
	}
	next := url.Values{"n": {strconv.Itoa(n)}, "last": {page[len(page)-1]}}
	if ns := query.Get("ns"); ns != "" {
		next.Set("ns", ns)
	}
	return page, fmt.Sprintf(`<%s?%s>; rel="next"`, (&url.URL{Path: self}).EscapedPath(), next.Encode()), nil
}

// referrers answers with an image index of the documents that are about a digest. There may be none.
func (s *Site) referrers(ctx context.Context, p Path, filter string, holders []found) (*Answer, error) {
	var c choice
	manifests := []descriptor{}
	var image, rule string
	seen := map[string]bool{}
	for _, f := range holders {
		if f.image == nil || len(f.image.Referrers) == 0 {
			continue
		}
		g, err := f.graphOf(ctx, *f.image)
		if err != nil {
			return nil, err
		}
		about := slices.DeleteFunc(slices.Clone(g.referrers), func(r referrer) bool { return r.subject != p.Digest })
		if len(about) == 0 {
			continue
		}
		decided, ok := c.decided(f.image.Name, s.DecideImage(f.image.Name))
		if !ok {
			continue
		}
		image, rule = f.image.Name, decided
		for _, r := range about {
			if (filter == "" || filter == r.ArtifactType) && !seen[r.Digest] {
				seen[r.Digest] = true
				manifests = append(manifests, r.descriptor)
			}
		}
	}
	if image == "" {
		if err := c.result(); err != nil {
			return nil, err
		}
	}
	body, err := json.Marshal(struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Manifests     []descriptor `json:"manifests"`
	}{2, oci.TypeIndex, manifests})
	if err != nil {
		return nil, err
	}
	a := &Answer{Body: body, MediaType: oci.TypeIndex, Image: image, Rule: rule, Header: map[string]string{}}
	if filter != "" {
		a.Header["OCI-Filters-Applied"] = "artifactType"
	}
	return a, nil
}
