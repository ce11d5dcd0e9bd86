package document

import (
	"errors"
	"time"
)

// SetText reads a text into dst.
func SetText(dst *string) func(Node) error {
	return func(n Node) (err error) {
		*dst, err = n.Text()
		return err
	}
}

// SetTexts reads a list of texts into dst.
func SetTexts(dst *[]string) func(Node) error {
	return func(n Node) (err error) {
		*dst, err = n.Texts()
		return err
	}
}

// SetFlag reads yes or no into dst.
func SetFlag(dst *bool) func(Node) error {
	return func(n Node) (err error) {
		*dst, err = n.Flag()
		return err
	}
}

// SetOneOrMore reads a value or a list of values into dst.
func SetOneOrMore(dst *[]string) func(Node) error {
	return func(n Node) (err error) {
		*dst, err = OneOrMore(n)
		return err
	}
}

// OneOrMore reads a value or a list of values.
func OneOrMore(n Node) ([]string, error) {
	if _, ok := n.Scalar(); !ok {
		return n.Texts()
	}
	s, err := n.Text()
	return []string{s}, err
}

// SetDuration reads a time span of at least a second, in whole seconds.
func SetDuration(dst *time.Duration) func(Node) error {
	return func(n Node) error {
		s, err := n.Text()
		if err != nil {
			return err
		}
		d, err := ParseDuration(s)
		if err == nil && (d < time.Second || d%time.Second != 0) {
			err = errors.New("should be whole seconds, at least one")
		}
		if err != nil {
			return n.Errorf("is %q, %w", s, err)
		}
		*dst = d
		return nil
	}
}
