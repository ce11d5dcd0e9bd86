package pages

import (
	"testing"

	"example.org/mmoci/internal/policy"
	"example.org/mmoci/internal/serve/web"
	"example.org/mmoci/pkg/archive/pgp"
)

// A front that is kept is not shown under other rules or keys, not even where those are read into the memory that the old ones had.
func TestKeptFront(t *testing.T) {
	t.Parallel()
	var none *front
	v := web.View{Policy: &policy.Policy{}, Site: &pgp.Keyring{}, Key: web.Key{Armor: []byte("a")}}
	kept := &front{key: "k", policy: v.Policy, ring: v.Site, armor: v.Key.Armor}
	if none.is("k", v) || !kept.is("k", v) || kept.is("other", v) {
		t.Error("it is not its key that tells")
	}
	rules, ring, armor := v, v, v
	rules.Policy, ring.Site, armor.Key.Armor = &policy.Policy{}, &pgp.Keyring{}, []byte("b")
	for what, v := range map[string]web.View{"rules": rules, "keyring": ring, "armor": armor} {
		if kept.is("k", v) {
			t.Errorf("other %s: it is shown", what)
		}
	}
}
