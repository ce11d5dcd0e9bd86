package serve

import (
	"context"
	"slices"
	"strings"

	"example.org/mmoci/pkg/snapshot"
)

// maxCatchUp bounds the snapshots that are opened because a lasting file was not found.
const maxCatchUp = 3

// catchUp opens snapshots before those in force that this server never answered
// from, because the tag moved on before it asked, or before it was started. A
// replica may have, and its client came here for the rest. This is done once for
// each snapshot in force, however much is not found; by a server that was just
// started only for a by-hash name, which somebody asks for who has an older Release in hand.
func (s *Server) catchUp(ctx context.Context, prefix, p string) {
	byHash := strings.Contains(p, "/by-hash/")
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), missWait)
	defer cancel()
	v := s.view.Load()
	for i, h := range v.current {
		if h != nil && h.archive(prefix) != nil && (byHash || len(v.previous[i]) > 0) {
			s.catchUpLane(ctx, i)
		}
	}
}

func (s *Server) catchUpLane(ctx context.Context, i int) {
	l := s.lanes[i]
	leave, ok := l.await(ctx)
	if !ok {
		return
	}
	defer leave()
	v := s.view.Load()
	current := v.current[i]
	if l.caughtUp == current.Root {
		return
	}
	l.caughtUp = current.Root
	ids, err := l.source.IDs(ctx)
	if err != nil {
		return
	}
	at := slices.IndexFunc(ids, current.is)
	if at < 0 {
		l.caughtUp = snapshot.Digest{} // a list of before it had its name; sources keep lists for a while
		return
	}
	for _, id := range ids[at+1 : min(at+1+maxCatchUp, len(ids))] {
		if slices.ContainsFunc(v.previous[i], func(h *held) bool { return h.is(id) }) {
			return // from here on nothing was missed
		}
		sn, err := l.source.Open(ctx, id)
		if err != nil {
			s.log.Info("snapshot before this one not opened", "reference", l.source.Name(), "snapshot", id, "error", err)
			return
		}
		s.missed(i, sn)
	}
}

// missed adds a snapshot to those before the one in force.
func (s *Server) missed(i int, sn *snapshot.Snapshot) {
	s.adoptMu.Lock()
	defer s.adoptMu.Unlock()
	h := newHeld(sn).retired(s.now().Add(s.o.Grace))
	s.view.Store(s.view.Load().also(i, h))
	s.log.Info("snapshot that was passed over is at hand", "reference", s.lanes[i].source.Name(), "snapshot", h.name)
}

// also is the view with one more earlier snapshot of source i.
func (v *view) also(i int, h *held) *view {
	previous := slices.Clone(v.previous)
	previous[i] = bounded(append(slices.Clone(previous[i]), h), maxPreviousBytes)
	return newView(v.current, previous)
}
