package chaintest

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/suites"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/world"
	"example.org/mmoci/pkg/artifact"
)

// mover is an upstream of docker's that publishes a newer day at the request of a file.
type mover struct {
	server *testarchive.Server
	plan   *config.Plan
	ref    artifact.Reference
	said   strings.Builder
}

func dayOf(t *testing.T, days int) testarchive.Files {
	a := testarchive.Docker()
	s := a.Suite(t, "bookworm")
	s.Date = s.Date.AddDate(0, 0, days)
	if days > 0 {
		s.Package(t, "docker-ce-cli").Version = fmt.Sprintf("5:28.5.2+day%d", days)
	}
	return a.Build(t)
}

func newMover(t *testing.T) *mover {
	dir := t.TempDir()
	m := &mover{
		server: testarchive.Serve(t, dayOf(t, 0)),
		ref:    artifact.Reference{Kind: artifact.Layout, Name: filepath.Join(dir, "mirror"), Tag: "latest"},
	}
	m.plan = &config.Plan{Archives: []config.Archive{{
		Prefix: "docker", URLs: []string{m.server.URL}, Suites: []string{"bookworm"}, Components: []string{"stable"},
		Architectures: []string{"amd64"}, SignedBy: writeKey(t, dir), CheckValidUntil: true,
		All: true,
	}}}
	return m
}

func writeKey(t *testing.T, dir string) string {
	t.Helper()
	testarchive.Files{"docker.asc": testarchive.DockerKey().Public()}.Write(t, dir)
	return filepath.Join(dir, "docker.asc")
}

func (m *mover) push(t *testing.T) (*push.Result, error) {
	return push.Run(t.Context(), push.Options{
		Plan: m.plan, Ref: m.ref, Signer: world.SignerOf(t, testarchive.SiteKey()), Now: world.Now.AddDate(0, 1, 0),
		Log: func(format string, args ...any) { fmt.Fprintf(&m.said, format+"\n", args...) },
	})
}

// TestPushMoves lets upstream publish a newer day at each kind of request: the
// push reads anew and ends with the newer day, whole.
func TestPushMoves(t *testing.T) {
	for _, at := range []string{
		"dists/bookworm/stable/binary-amd64/Packages.gz",
		"dists/bookworm/pool/stable/amd64/docker-ce-cli_28.5.1-1~debian.12~bookworm_amd64.deb",
	} {
		t.Run(filepath.Base(at), func(t *testing.T) {
			m := newMover(t)
			next := dayOf(t, 1)
			m.server.Fault(func(path string, n int) testarchive.Broken {
				if path != at || n > 1 {
					return testarchive.Broken{}
				}
				m.server.Replace(next)
				if strings.HasSuffix(path, ".deb") {
					return testarchive.Broken{Status: 404}
				}
				return testarchive.Broken{}
			})
			res, err := m.push(t)
			if err != nil {
				t.Fatal(err)
			}
			got := res.Frozen.Snapshot.Statement.Date
			if want := testarchive.Docker().Suites[0].Date.AddDate(0, 0, 1); !got.Equal(want) {
				t.Errorf("the snapshot is of %s, want %s", got, want)
			}
			if !strings.Contains(m.said.String(), "changed while it was read") {
				t.Errorf("nothing was said of it: %q", m.said.String())
			}
		})
	}
}

// TestPushMovesForEver ends with an error after a bounded number of attempts.
func TestPushMovesForEver(t *testing.T) {
	m := newMover(t)
	day := 0
	m.server.Fault(func(path string, _ int) testarchive.Broken {
		if strings.HasSuffix(path, "/Packages.gz") {
			day++
			m.server.Replace(dayOf(t, day))
		}
		return testarchive.Broken{}
	})
	if _, err := m.push(t); err == nil {
		t.Fatal("no error though no day held still")
	}
	if day > suites.Rereads+1 {
		t.Errorf("it was read %d times", day)
	}
	if _, err := artifact.Resolve(t.Context(), m.ref, artifact.Options{}); !errors.Is(err, artifact.ErrNotFound) {
		t.Errorf("there is a tag (%v)", err)
	}
}

// TestPushMismatch is a pool file that differs while nothing has moved: a
// failure of integrity; one that is gone: an ordinary one.
func TestPushMismatch(t *testing.T) {
	const file = "dists/bookworm/pool/stable/amd64/docker-ce-cli_28.5.2-1~debian.12~bookworm_amd64.deb"
	for name, change := range map[string]struct {
		with      func([]byte) []byte
		integrity bool
	}{
		"longer":  {func(b []byte) []byte { return append(b[:len(b):len(b)], 0) }, true},
		"shorter": {func(b []byte) []byte { return b[:len(b)-1] }, true},
		"gone":    {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMover(t)
			files := dayOf(t, 0)
			if change.with == nil {
				delete(files, file)
			} else {
				files[file] = change.with(files[file])
			}
			m.server.Replace(files)
			_, err := m.push(t)
			if err == nil || errors.Is(err, outcome.ErrIntegrity) != change.integrity || !strings.Contains(err.Error(), "docker/"+file) {
				t.Errorf("got %v", err)
			}
		})
	}
}
