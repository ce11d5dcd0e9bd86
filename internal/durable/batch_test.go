package durable

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A failed sync loses what was begun before it returned, and nothing that was begun later.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var fault error
	var during func()
	s, err := Open(dir, func(int) error {
		if during != nil {
			during()
		}
		return fault
	})
	if err != nil {
		t.Fatal(err)
	}
	before := s.Mark()
	if err := s.Sync(); err != nil || s.Lost(before) {
		t.Errorf("a good sync: %v, lost %v", err, s.Lost(before))
	}
	var meanwhile Mark
	during = func() { meanwhile = s.Mark() }
	fault = syscall.EIO
	err = s.Sync()
	if !errors.Is(err, syscall.EIO) || err.Error() != "sync "+dir+": input/output error" {
		t.Errorf("a failed sync: %v", err)
	}
	if !s.Lost(before) || !s.Lost(meanwhile) {
		t.Errorf("lost: begun before %v, begun meanwhile %v", s.Lost(before), s.Lost(meanwhile))
	}
	during, fault = nil, nil
	after := s.Mark()
	if err := s.Sync(); err != nil || s.Lost(after) {
		t.Errorf("afterwards: %v, lost %v", err, s.Lost(after))
	}
	if !s.Lost(before) {
		t.Error("a later sync gave back what was lost")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestSyncsTheFileSystem(t *testing.T) {
	t.Parallel()
	s, err := Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
	s.Close()
	if err := s.Sync(); err == nil {
		t.Error("a closed one syncs")
	}
	if _, err := Open("no such directory", nil); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "no such directory") {
		t.Error(err)
	}
}
