package artifact

import (
	"bytes"
	"errors"
	"net/http"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/snapshot"
)

// TestOtherManifest: a registry that tells no digest answers with another core than the root names.
func TestOtherManifest(t *testing.T) {
	t.Parallel()
	f := newFakeRegistry(t)
	p := tiny(t)
	ref := f.ref(t, "latest")
	if _, err := p.Push(t.Context(), ref, PushOptions{}); err != nil {
		t.Fatal(err)
	}
	for want, data := range map[string][]byte{
		"the registry answered with": bytes.Replace(p.core, []byte(`"schemaVersion":2`), []byte(`"schemaVersion":3`), 1),
		"bytes, want":                append(bytes.Clone(p.core), ' '),
	} {
		f.before = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, snapshot.Sum(p.core).String()) {
				return false
			}
			w.Header().Set("Content-Type", oci.TypeManifest)
			_, _ = w.Write(data)
			return true
		}
		if _, err := Open(t.Context(), ref, Options{}); !errors.Is(err, snapshot.ErrIntegrity) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
