package remote

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
)

// Pages end, in what order they ever name repositories; those that never do are given up.
func TestRepositories(t *testing.T) {
	endless, asked := false, 0
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		last := r.URL.Query().Get("last")
		switch {
		case endless:
			w.Header().Set("Link", `</v2/_catalog?last=x>; rel="next"`)
			fmt.Fprint(w, `{"repositories":[]}`)
		case last == "":
			w.Header().Set("Link", `</v2/_catalog?last=b>; rel="next"`)
			fmt.Fprint(w, `{"repositories":["b","a"]}`)
		default:
			fmt.Fprint(w, `{"repositories":["c","a"]}`)
		}
	}))
	defer s.Close()
	ref := oci.Reference{Kind: oci.Registry, Name: strings.TrimPrefix(s.URL, "http://") + "/x"}
	got, err := Repositories(t.Context(), ref, &Options{Anonymous: true})
	if err != nil || !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%q, %v", got, err)
	}
	endless, asked = true, 0
	if got, err := Repositories(t.Context(), ref, &Options{Anonymous: true}); err == nil || asked > 2*maxTagPages {
		t.Errorf("%q after %d questions, %v", got, asked, err)
	}
}
