package artifact

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"example.org/mmoci/pkg/artifact/oci"
	"example.org/mmoci/pkg/artifact/remote"
	"example.org/mmoci/pkg/snapshot/snapshottest"
)

// A copy under an immutable name sets that tag alone; the name of another snapshot's is refused.
func TestCopyUnderImmutableName(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(3))
	src := layoutRef(t)
	long := src
	long.Tag = strings.Repeat("t", oci.MaxAlias)
	pushed := mustPush(t, src, s, PushOptions{})
	f := newFakeRegistry(t)
	for _, dst := range []Reference{f.ref(t, "x"), layoutRef(t), src} {
		for _, tag := range []string{pushed.Immutable, mustPush(t, long, s, PushOptions{}).Immutable} {
			dst.Tag = tag
			copied, err := Copy(t.Context(), src, dst, PushOptions{})
			if err != nil || copied.Immutable != "" {
				t.Errorf("%s: also tagged %q, %v", dst, copied.Immutable, err)
			}
			again, err := Copy(t.Context(), src, dst, PushOptions{})
			if err != nil || again.Changed {
				t.Errorf("%s: %+v, %v", dst, again, err)
			}
			if err := snapshottest.Equal(t.Context(), s, reopen(t, dst)); err != nil {
				t.Error(err)
			}
		}
		names, err := TagNames(t.Context(), dst, Options{})
		if err != nil {
			t.Error(err)
		}
		for _, name := range names {
			if oci.ImmutableStem(oci.ImmutableStem(name)) != "" {
				t.Errorf("%s: tag %s", dst, name)
			}
		}
		for _, tag := range []string{"noble-20261121T091340Z-0123456789ab", strings.Replace(pushed.Immutable, "2026", "2025", 1)} {
			dst.Tag = tag
			if _, err := Copy(t.Context(), src, dst, PushOptions{}); !errors.Is(err, ErrReference) || !strings.Contains(err.Error(), pushed.Immutable) {
				t.Errorf("%s: %v", dst, err)
			}
		}
	}
}

// distribution v2 answers a manifest whose blob somebody else puts at this moment that the blob's digest is invalid and the
// blob unknown: that passes. A blob that is not there is sent, and asked for once only.
func TestBlobBeingLinked(t *testing.T) {
	t.Parallel()
	s := takeOf(t, synthFiles(6))
	f := newFakeRegistry(t)
	ref := f.ref(t, "noble")
	seen := map[string]int{}
	f.answer(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method != http.MethodPut || kindOf(r) != "manifest" {
			return false
		}
		f.mu.Lock()
		seen[r.URL.Path]++
		n := seen[r.URL.Path]
		f.mu.Unlock()
		if n > 2 {
			return false
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"},` +
			`{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown to registry","detail":"sha256:0"}]}`))
		return true
	})
	pushed := mustPush(t, ref, s, PushOptions{Options: Options{tuning: tuning{timing: remote.Timing{Backoff: 1}}}})
	f.answer(nil)
	if heads := f.counts()["HEAD blob"]; heads > pushed.Blobs {
		t.Errorf("%d blobs were asked for", heads)
	}
	if len(seen) < 5 {
		t.Errorf("only %d manifests were refused", len(seen))
	}
	if err := snapshottest.Equal(t.Context(), s, reopen(t, ref)); err != nil {
		t.Error(err)
	}
}
