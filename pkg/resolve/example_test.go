package resolve_test

import (
	"fmt"
	"strings"

	"example.org/mmoci/pkg/resolve"
	"example.org/mmoci/pkg/resolve/order"
	"example.org/mmoci/pkg/resolve/query"
)

// stanza is what a Packages index says of a package.
func stanza(name, version, fields string) string {
	return fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\n%sFilename: pool/%s.deb\nSize: 1\nSHA256: %s\n\n",
		name, version, fields, name, strings.Repeat("ab", 32))
}

// The closure of a selection, with the reason for each package, and the order
// in which dpkg can install it.
func Example() {
	u, err := resolve.NewUniverse([]resolve.Index{{
		Archive: "docker", Suite: "bookworm", Component: "stable", Architecture: "amd64", Path: "Packages",
		Data: []byte(stanza("docker-ce", "5:27.0-1", "Depends: containerd.io (>= 1.6), iptables | nftables\n") +
			stanza("containerd.io", "1.7-1", "") + stanza("containerd.io", "1.5-1", "") + stanza("nftables", "1.0-1", "")),
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	q, err := query.Parse("docker-ce (>= 5:20)")
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := u.Resolve(resolve.Request{Roots: []resolve.Root{{Query: q}}, Architectures: []string{"amd64"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	var packages []*resolve.Package
	for _, c := range res.Packages {
		fmt.Printf("%s %s (%s)\n", c.Name, c.Version, c.Reason)
		packages = append(packages, c.Package)
	}
	for i, group := range order.Groups(packages) {
		fmt.Println(i+1, group[0].Name)
	}
	// Output:
	// containerd.io 1.7-1 (docker-ce Depends: containerd.io (>= 1.6))
	// docker-ce 5:27.0-1 (asked for: docker-ce (>= 5:20))
	// nftables 1.0-1 (docker-ce Depends: iptables | nftables)
	// 1 containerd.io
	// 2 nftables
	// 3 docker-ce
}

// An error tells which dependency is missing, and whose it is.
func ExampleUniverse_Resolve_unsatisfied() {
	u, err := resolve.NewUniverse([]resolve.Index{{Archive: "docker", Path: "Packages",
		Data: []byte(stanza("docker-ce", "27", "Depends: containerd.io (>= 1.6)\n") + stanza("containerd.io", "1.5", ""))}})
	if err != nil {
		fmt.Println(err)
		return
	}
	q, err := query.Parse("docker-ce")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = u.Resolve(resolve.Request{Roots: []resolve.Root{{Query: q, Origin: "mmoci.yaml:7"}}, Architectures: []string{"amd64"}})
	fmt.Println(err)
	// Output:
	// unsatisfied: docker-ce (archive docker) needs containerd.io (>= 1.6); seen: 1.5 in docker/ (mmoci.yaml:7)
}
