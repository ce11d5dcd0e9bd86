// Command mutate takes single checks out of the code, one at a time, and holds
// that a named test turns red each time. See scripts/mutate.sh.
//
// edits/PACKAGE.txt holds the edits of a package: "= NAME", "@ DECLARATION PACKAGE TESTS",
// "- old line".., "+ new line"..; the old lines must stand in the declaration once. Where two
// checks do the same (the digest of an index, packed and unpacked; the filters of xz), so that
// neither alone can be seen to be missing, they are not in the lists; nor is what the canonical
// form of a statement or document implies.
//
// Nothing is changed on disk (go's -overlay). Most edits are built into one
// test program a package, switched on by their number, so that hundreds of them
// cost few builds; those that do not fit that are built each by itself.
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
)

func main() {
	only := flag.String("only", "", "run those whose name matches this `regexp`")
	apply := flag.Bool("apply", false, "only find the places of the edits, run nothing")
	flag.Parse()
	if err := run(flag.Arg(0), *only, *apply); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(lists, only string, applyOnly bool) error {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	listed, err := readLists(lists)
	if err != nil {
		return err
	}
	var all []mutation
	for _, m := range listed {
		if wanted.MatchString(m.name) {
			all = append(all, m)
		}
	}
	if applyOnly {
		return fit(all)
	}
	work, err := os.MkdirTemp("", "mmoci-mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	b, err := newBuild(work, all)
	if err != nil {
		return err
	}
	red := 0
	for i, m := range all {
		verdict, ok := b.try(i, m)
		if ok {
			red++
		}
		fmt.Printf("%-46s %-28s %s\n", m.name, m.decl, verdict)
	}
	fmt.Printf("%d of %d turned a test red\n", red, len(all))
	if red != len(all) || red == 0 {
		return fmt.Errorf("%d survived", len(all)-red)
	}
	return nil
}

// fit only tells whether the edits fit the code.
func fit(all []mutation) error {
	bad := 0
	for _, m := range all {
		text, err := os.ReadFile(m.file)
		if err == nil || m.file == "" {
			_, err = m.find(string(text))
		}
		if err != nil {
			bad++
			fmt.Printf("%-46s %-28s %s\n", m.name, m.decl, err)
		}
	}
	if bad > 0 || len(all) == 0 {
		return fmt.Errorf("%d of %d edits do not fit the code", bad, len(all))
	}
	fmt.Printf("%d edits fit the code\n", len(all))
	return nil
}
