package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// kind names the sort of a difference.
func (v *verdict) kind() string {
	switch {
	case v.err != nil && v.aptError != "":
		return "neither can"
	case v.err != nil:
		return "only apt can"
	case v.aptError != "":
		return "only we can"
	case len(v.onlyApt)+len(v.onlyOurs) == 0:
		return "equal"
	case len(v.onlyOurs) == 0 && v.siblings:
		return "apt upgrades what else is of an upgraded source"
	case len(v.onlyOurs) == 0:
		return "apt takes more"
	case len(v.onlyApt) == 0:
		return "we take more"
	case names(v.onlyApt) == names(v.onlyOurs):
		return "other versions"
	}
	return "other alternatives"
}

func names(keys []string) string {
	var b strings.Builder
	for _, k := range keys {
		name, _, _ := strings.Cut(k, " ")
		b.WriteString(name + " ")
	}
	return b.String()
}

// report prints the figures and tells whether they are good enough.
func (p *parity) report(verdicts []verdict) bool {
	kinds := map[string]int{}
	closures, refused, uninstallable, differ, broken := 0, 0, 0, 0, 0
	compared, other, secure, secureCompared := 0, 0, 0, 0
	for i := range verdicts {
		v := &verdicts[i]
		kinds[v.kind()]++
		if v.err == nil {
			closures++
		}
		if v.err == nil && v.aptError == "" {
			compared++
			if v.secure {
				secureCompared++
			}
		}
		if v.otherVersion != "" {
			other++
			fmt.Printf("VERSION  %s: %s\n", v.name, v.otherVersion)
			if v.secure {
				secure++
			}
		}
		if v.refused != "" {
			refused++
			fmt.Printf("REFUSED  %s: %s\n", v.name, lastLines(v.refused))
		}
		if v.uninstallable != "" {
			uninstallable++
			fmt.Printf("BROKEN   %s, says dose-debcheck: %s\n", v.name, v.uninstallable)
		}
		if v.broken != "" {
			broken++
			fmt.Printf("BROKEN   %s: %s\n", v.name, v.broken)
		}
		if v.differs {
			differ++
			fmt.Printf("UNSTABLE %s\n", v.name)
		}
		if k := v.kind(); k != "equal" && k != "neither can" {
			p.explain(v)
		}
	}
	comparable := closures - kinds["only we can"]
	share := 100.0
	if comparable+kinds["only apt can"] > 0 {
		share = 100 * float64(kinds["equal"]) / float64(comparable+kinds["only apt can"])
	}
	for _, k := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Printf("%-50s %d\n", k, kinds[k])
	}
	fmt.Printf("seed %d: %d drawn, %d closures\n", p.seed, len(verdicts), closures)
	fmt.Printf("accepted by apt: %d/%d\n", closures-refused, closures)
	fmt.Printf("accepted by dose-debcheck: %d/%d\n", closures-uninstallable, closures)
	fmt.Printf("nothing else touched: %d/%d\n", closures-broken, closures)
	fmt.Printf("deterministic: %d/%d\n", len(verdicts)-differ, len(verdicts))
	fmt.Printf("in apt's versions: %d/%d\n", compared-other, compared)
	fmt.Printf("of the security suite in apt's versions: %d/%d\n", secureCompared-secure, secureCompared)
	fmt.Printf("set-equal to apt: %.2f%%\n", share)
	return closures > 0 && refused == 0 && uninstallable == 0 && differ == 0 && broken == 0 && other == 0 && share >= p.share
}

// explain prints one difference.
func (p *parity) explain(v *verdict) {
	fmt.Printf("DIFF     %s (%d): %s\n", v.name, v.size, v.kind())
	if v.err != nil {
		fmt.Printf("         %s\n", strings.ReplaceAll(v.err.Error(), "\n", "\n         "))
		return
	}
	if v.aptError != "" {
		fmt.Printf("         %s\n", lastLines(v.aptError))
		return
	}
	limit := 4
	if p.verbose {
		limit = len(v.onlyApt) + len(v.onlyOurs)
	}
	for i, k := range v.onlyApt[:min(limit, len(v.onlyApt))] {
		fmt.Printf("         only apt  %s%s\n", k, more(i, limit, len(v.onlyApt)))
	}
	for i, k := range v.onlyOurs[:min(limit, len(v.onlyOurs))] {
		fmt.Printf("         only ours %s: %s%s\n", k, v.why[k], more(i, limit, len(v.onlyOurs)))
	}
}

func more(i, limit, all int) string {
	if i == limit-1 && all > limit {
		return fmt.Sprintf(" and %d more", all-limit)
	}
	return ""
}

func lastLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], " / ")
}
