package world

import (
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/freeze"
	"example.org/mmoci/internal/prove"
	"example.org/mmoci/internal/testarchive"
	"example.org/mmoci/internal/testarchive/forge"
	"example.org/mmoci/pkg/archive/pgp"
	"example.org/mmoci/pkg/snapshot"
)

// The world of the tests of trust: three archives, the middle of January 2026.
//
//	docker    curated    docker-ce
//	debian    curated    what docker-ce needs: bookworm and bookworm-updates
//	security  verbatim   of Debian's key, Valid-Until a week after its Date
var (
	Date = time.Date(2026, 1, 13, 0, 0, 0, 0, time.UTC)
	Now  = time.Date(2026, 1, 13, 12, 0, 0, 0, time.UTC)
)

// Upstreams are the archives of a world, to be changed before they are frozen.
type Upstreams struct {
	Docker, Debian, Security          testarchive.Archive
	DockerKey, DebianKey, securityKey *testarchive.Key // what push verifies by
	Date                              time.Time
}

func Good() Upstreams {
	return Upstreams{
		Docker: testarchive.Docker(), Debian: testarchive.Debian(), Security: testarchive.Security(),
		DockerKey: testarchive.DockerKey(), DebianKey: testarchive.DebianKey(), securityKey: testarchive.DebianKey(),
		Date: Date,
	}
}

// Older is the same world three days before, when docker-ce 28.5.2 and the
// update of libseccomp2 were not out. The date input is the same, so that its parts fit.
func Older(t testing.TB) Upstreams {
	u := Good()
	back := func(s *testarchive.Suite, days int) { s.Date = s.Date.AddDate(0, 0, -days) }
	docker := u.Docker.Suite(t, "bookworm")
	back(docker, 3)
	var ps []testarchive.Package
	for _, p := range docker.Packages {
		if p.Version != "5:28.5.2-1~debian.12~bookworm" && p.Version != "1.7.29-1~debian.12~bookworm" {
			ps = append(ps, p)
		}
	}
	docker.Packages = ps
	back(u.Debian.Suite(t, "bookworm"), 3)
	updates := u.Debian.Suite(t, "bookworm-updates")
	back(updates, 3)
	updates.Packages = updates.Packages[:1]
	security := u.Security.Suite(t, "bookworm-security")
	back(security, 3)
	security.ValidUntil = security.Date.AddDate(0, 0, 7)
	security.Packages = security.Packages[:1]
	security.Packages[0].Version = "252.39-1~deb12u1+old1"
	return u
}

// Ring is a keyring of public keys.
func Ring(t testing.TB, keys ...*testarchive.Key) *pgp.Keyring {
	t.Helper()
	var rings []*pgp.Keyring
	for _, k := range keys {
		r, err := pgp.ReadKeyring(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		rings = append(rings, r)
	}
	return pgp.JoinKeyrings(rings...)
}

func SignerOf(t testing.TB, k *testarchive.Key) pgp.Signer {
	t.Helper()
	s, err := pgp.ReadSigner(k.Private(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Freeze freezes a world, signed by the site.
func Freeze(t testing.TB, u Upstreams) *snapshot.Snapshot {
	t.Helper()
	dir := testarchive.MemoryDir(t)
	write := func(name string, a testarchive.Archive, k *testarchive.Key) (url, key string) {
		a.Build(t).Write(t, filepath.Join(dir, name))
		key = filepath.Join(dir, name+".asc")
		if err := os.WriteFile(key, k.Public(), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name), key
	}
	plan := &config.Plan{}
	add := func(a config.Archive, up testarchive.Archive, k *testarchive.Key) {
		url, key := write(a.Prefix, up, k)
		a.URLs, a.SignedBy, a.Architectures = []string{url}, key, []string{"amd64"}
		plan.Archives = append(plan.Archives, a)
	}
	add(config.Archive{Prefix: "docker", Suites: []string{"bookworm"}, Components: []string{"stable"},
		Packages: []config.Query{{Text: "docker-ce"}}}, u.Docker, u.DockerKey)
	add(config.Archive{Prefix: "debian", Suites: []string{"bookworm", "bookworm-updates"}, Components: []string{"main"},
		None: true}, u.Debian, u.DebianKey)
	add(config.Archive{Prefix: "security", Verbatim: true, Suites: []string{"bookworm-security"}, Components: []string{"main"}},
		u.Security, u.securityKey)
	frozen, err := freeze.Run(t.Context(), freeze.Options{Plan: plan, Signer: SignerOf(t, testarchive.SiteKey()), Date: u.Date, Now: Now})
	if err != nil {
		t.Fatal(err)
	}
	return frozen.Snapshot
}

// Draft takes a frozen world apart. The good one is frozen once for all tests of a package.
func Draft(t testing.TB, u Upstreams) *forge.Draft {
	t.Helper()
	if !reflect.DeepEqual(u, Good()) {
		return forge.Open(t, Freeze(t, u))
	}
	good.Lock()
	defer good.Unlock()
	if good.draft == nil {
		good.draft = forge.Open(t, Freeze(t, u))
	}
	return good.draft.For(t)
}

var good struct {
	sync.Mutex
	draft *forge.Draft
}

// SiteTrust and upstreamTrust are the two roots of trust of the world's readers.
func SiteTrust(t testing.TB) prove.Trust {
	return prove.Trust{Site: Ring(t, testarchive.SiteKey()), Now: Now}
}

func UpstreamTrust(t testing.TB) prove.Trust {
	debian := Ring(t, testarchive.DebianKey())
	return prove.Trust{
		Upstream: map[string]*pgp.Keyring{"docker": Ring(t, testarchive.DockerKey()), "debian": debian, "security": debian},
		Named:    []string{"debian", "docker", "security"}, Now: Now,
	}
}
