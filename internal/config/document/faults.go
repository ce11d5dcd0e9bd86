package document

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// maxFaults is how many faults of one input are told.
const maxFaults = 1000

// Faults collects what is wrong with an input, so that all of it is told at once. The zero value is ready.
type Faults struct {
	list []error
	left int // beyond maxFaults
}

// Add takes the faults of err, in their order, each text once; nil is none.
func (f *Faults) Add(err error) {
	if err == nil {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			f.Add(e)
		}
		return
	}
	if len(f.list) == maxFaults {
		f.left++
		return
	}
	for _, e := range f.list {
		if e.Error() == err.Error() {
			return
		}
	}
	f.list = append(f.list, err)
}

// Err is nil if nothing was added, else an error whose text has a line or more for each fault: those of
// a file together, by line.
func (f *Faults) Err() error {
	switch len(f.list) {
	case 0:
		return nil
	case 1:
		return f.list[0]
	}
	list := slices.Clone(f.list)
	order := map[string]int{} // of files: as they came
	for _, e := range list {
		if _, ok := order[placeOf(e).File]; !ok {
			order[placeOf(e).File] = len(order)
		}
	}
	slices.SortStableFunc(list, func(a, b error) int {
		x, y := placeOf(a), placeOf(b)
		return cmp.Or(cmp.Compare(order[x.File], order[y.File]), cmp.Compare(x.Line, y.Line))
	})
	if f.left > 0 {
		list = append(list, fmt.Errorf("%w: %d faults more", ErrUsage, f.left))
	}
	return errors.Join(list...)
}

func placeOf(err error) Position {
	var e *usageError
	if errors.As(err, &e) {
		return e.at
	}
	return Position{}
}
