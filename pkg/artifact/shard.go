package artifact

import (
	"bytes"
	"crypto/sha256"
	"strings"
)

// A priority decides where a range is cut: the highest wins, the first of equals.
type priority struct {
	pos  int // the cut is before this position
	hash [sha256.Size]byte
}

// cutShards cuts sorted distinct paths into ranges of at most MaxLayers (SPEC
// section 7) and returns where each range ends. The rule is recursive; here
// the recursion is walked over a tree whose root is the highest priority of the
// range, left and right of it the same for what remains (a Cartesian tree,
// built in linear time), so that no choice of names makes it quadratic.
func cutShards(paths []string) (ends []int) {
	var dirs []priority
	for i := 1; i < len(paths); i++ {
		if dir := directory(paths[i]); dir != directory(paths[i-1]) {
			dirs = append(dirs, priority{i, sha256.Sum256([]byte(dir))})
		}
	}
	walkCuts(dirs, 0, len(paths), func(lo, hi int) {
		if hi-lo <= MaxLayers {
			ends = append(ends, hi)
			return
		}
		files := make([]priority, 0, hi-lo-1) // one directory
		for i := lo + 1; i < hi; i++ {
			files = append(files, priority{i, sha256.Sum256([]byte(paths[i]))})
		}
		walkCuts(files, lo, hi, func(_, hi int) { ends = append(ends, hi) })
	})
	return ends
}

// directory is the path up to its last slash, without it.
func directory(path string) string {
	return path[:max(strings.LastIndexByte(path, '/'), 0)]
}

// walkCuts cuts lo..hi at the given positions until ranges are small enough
// or no position is left, and emits the ranges in order.
func walkCuts(cuts []priority, lo, hi int, emit func(lo, hi int)) {
	left, right, root := cartesian(cuts)
	type span struct{ node, lo, hi int }
	stack := []span{{root, lo, hi}}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if s.node < 0 || s.hi-s.lo <= MaxLayers {
			if s.hi > s.lo {
				emit(s.lo, s.hi)
			}
			continue
		}
		at := cuts[s.node].pos
		stack = append(stack, span{right[s.node], at, s.hi}, span{left[s.node], s.lo, at})
	}
}

// cartesian builds the tree: every node's hash is greater than those below it,
// or equal and earlier. -1 stands for none.
func cartesian(cuts []priority) (left, right []int, root int) {
	left, right = make([]int, len(cuts)), make([]int, len(cuts))
	var spine []int // the right spine, from the root down
	for i := range cuts {
		left[i], right[i] = -1, -1
		for len(spine) > 0 && bytes.Compare(cuts[spine[len(spine)-1]].hash[:], cuts[i].hash[:]) < 0 {
			left[i] = spine[len(spine)-1]
			spine = spine[:len(spine)-1]
		}
		if len(spine) > 0 {
			right[spine[len(spine)-1]] = i
		}
		spine = append(spine, i)
	}
	if len(spine) == 0 {
		return left, right, -1
	}
	return left, right, spine[0]
}
