package rootfs

import "errors"

var errGlob = errors.New("malformed glob")

// glob is a pattern that matches whole paths as fnmatch(3) without flags does:
// * and ? match every byte, [..] one of a set, \ takes the next byte for itself.
type glob struct {
	text  string
	items []globItem
}

// match takes time in proportion to the product of both lengths at most.
func (g glob) match(path string) bool {
	items := g.items
	i, j, star, back := 0, 0, -1, 0
	for j < len(path) {
		switch {
		case i < len(items) && items[i].star:
			star, back = i, j
			i++
		case i < len(items) && items[i].set[path[j]>>5]&(1<<(path[j]&31)) != 0:
			i++
			j++
		case star >= 0:
			back++
			i, j = star+1, back
		default:
			return false
		}
	}
	for i < len(items) && items[i].star {
		i++
	}
	return i == len(items)
}

// globItem is a star or a set of bytes.
type globItem struct {
	star bool
	set  [8]uint32
}

func (g *globItem) add(c byte) { g.set[c>>5] |= 1 << (c & 31) }

func parseGlob(text string) (glob, error) {
	var items []globItem
	for i := 0; i < len(text); i++ {
		var it globItem
		switch text[i] {
		case '*':
			it.star = true
		case '?':
			for k := range it.set {
				it.set[k] = ^uint32(0)
			}
		case '[':
			n, err := it.class(text[i+1:])
			if err != nil {
				return glob{}, err
			}
			i += n
		case '\\':
			if i++; i == len(text) {
				return glob{}, errGlob
			}
			it.add(text[i])
		default:
			it.add(text[i])
		}
		items = append(items, it)
	}
	return glob{text, items}, nil
}

// class reads what follows "[" and returns how many bytes that is.
func (g *globItem) class(s string) (int, error) {
	i := 0
	not := len(s) > 0 && (s[0] == '!' || s[0] == '^')
	if not {
		i++
	}
	for first := true; ; first = false {
		if i >= len(s) {
			return 0, errGlob
		}
		if s[i] == ']' && !first {
			break
		}
		low := s[i]
		high := low
		if i+2 < len(s) && s[i+1] == '-' && s[i+2] != ']' {
			high = s[i+2]
			i += 2
		}
		i++
		for c := int(low); c <= int(high); c++ {
			g.add(byte(c))
		}
	}
	if not {
		for k := range g.set {
			g.set[k] = ^g.set[k]
		}
	}
	return i + 1, nil
}
