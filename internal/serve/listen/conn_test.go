package listen

import (
	"net"
	"net/netip"
	"testing"
)

func TestClientKeys(t *testing.T) {
	t.Parallel()
	c := newClients(1, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	for _, p := range []struct {
		a, b string
		one  bool
	}{
		{"198.51.100.1", "198.51.100.1", true}, {"198.51.100.1", "198.51.100.2", false}, {"::ffff:198.51.100.1", "198.51.100.1", true},
		{"2001:db8::1", "2001:db8::ffff:1", true}, {"2001:db8::1", "2001:db8:0:1::1", false}, {"192.0.2.1", "192.0.2.1", false}, {"::ffff:192.0.2.1", "192.0.2.1", false},
	} {
		addr := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(s), 1)) }
		release, ok := c.take(addr(p.a))
		if !ok {
			t.Fatalf("%s: not free", p.a)
		}
		second, ok := c.take(addr(p.b))
		if ok == p.one {
			t.Errorf("%s and %s: one client %v", p.a, p.b, !ok)
		}
		if ok {
			second()
		}
		release()
		if len(c.by) != 0 {
			t.Errorf("still counted: %v", c.by)
		}
	}
	if _, ok := c.take(&net.UnixAddr{}); !ok || len(c.by) != 0 {
		t.Error("a unix socket is bounded")
	}
}
