package main

import (
	"fmt"
	"os"
	"time"
	"runtime"

	"example.org/mmoci/pkg/resolve"
)

func main() {
	t := time.Now()
	var ix []resolve.Index
	for i, f := range []string{"bookworm", "bookworm-updates", "security"} {
		data, err := os.ReadFile("/tmp/resolve/" + f + ".packages")
		if err != nil {
			panic(err)
		}
		ix = append(ix, resolve.Index{Archive: []string{"debian", "debian", "security"}[i], Suite: f, Component: "main", Architecture: "amd64", Path: f, Data: data})
	}
	fmt.Println("read", time.Since(t))
	t = time.Now()
	u, err := resolve.NewUniverse(ix)
	if err != nil {
		panic(err)
	}
	fmt.Println("universe", time.Since(t), u.Skipped())
	for _, p := range os.Args[1:] {
		t = time.Now()
		q, err := resolve.ParseQuery(p)
		if err != nil {
			fmt.Println(err)
			continue
		}
		r, err := u.Resolve(resolve.Request{Roots: []resolve.Root{{Query: q}}, Architectures: []string{"amd64"}})
		d := time.Since(t)
		if err != nil {
			fmt.Println(err)
			continue
		}
		if len(os.Args) == 2 {
			for _, c := range r.Packages {
				fmt.Println(c.Name, c.Version, c.Architecture, c.Archive, c.Reason)
			}
		}
		fmt.Println(p, len(r.Packages), d)
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	fmt.Println("heap", m.HeapSys>>20, m.NumGC, m.TotalAlloc>>20)
}
