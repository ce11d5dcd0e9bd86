package web

import (
	"strings"
	"time"

	"example.org/mmoci/internal/chain"
	"example.org/mmoci/internal/changes"
	"example.org/mmoci/pkg/snapshot"
)

// MaxOpened is how many snapshots of a list are looked into, the newest ones.
const MaxOpened = 10

// Listed is a line of the list of snapshots.
type Listed struct {
	ID       string
	Tags     []string // names that it was given
	Current  bool
	Snapshot *Snapshot // nil: not looked into
}

// listedRow is what the page says of one.
type listedRow struct {
	ID, Date, Age, Class, Size, Difference, Compare string
	Tags                                            string
	Packages                                        int
	Current, Opened                                 bool
}

// List is the page of all snapshots: of each reference the newest first.
func (p *Pages) List(v View, references [][]Listed) ([]byte, error) {
	data := struct {
		shell
		Base string
		Rows []listedRow
		IDs  []string // to choose from
	}{shell: v.shell("snapshots"), Base: v.Base}
	for _, list := range references {
		list = list[:min(len(list), maxListed)]
		for i, l := range list {
			row := listedRow{ID: l.ID, Tags: strings.Join(l.Tags, ", "), Current: l.Current}
			if date, ok := dateOf(l.ID); ok {
				row.Date, row.Age, row.Class = date.Format(time.DateOnly), chain.Age(date, v.Now), v.Ages.class(date, time.Time{}, v.Now)
			}
			if s := l.Snapshot; s != nil {
				t := p.Totals(*s)
				row.Opened, row.Packages, row.Size = true, t.Packages, size(t.Bytes)
				if i+1 < len(list) && list[i+1].Snapshot != nil {
					row.Difference = p.Difference(*list[i+1].Snapshot, *s)
				}
			}
			if i+1 < len(list) {
				row.Compare = changesLink(v.Root, list[i+1].ID, l.ID)
			}
			data.Rows = append(data.Rows, row)
			data.IDs = append(data.IDs, l.ID)
		}
	}
	return p.html("snapshots", data)
}

func changesLink(root, from, to string) string {
	return root + "mmoci/changes?from=" + from + "&to=" + to
}

// dateOf is the date in DATE-HEX12, which a tag's name may precede.
func dateOf(id string) (time.Time, bool) {
	parts := strings.Split(id, "-")
	if len(parts) < 2 {
		return time.Time{}, false
	}
	t, err := time.Parse("20060102T150405Z", parts[len(parts)-2])
	return t, err == nil
}

// Difference is one line on what changed between two snapshots. It is kept for pages that ask again.
func (p *Pages) Difference(old, now Snapshot) string {
	key := [2]snapshot.Digest{old.Root, now.Root}
	p.mu.Lock()
	text, ok := p.differences[key]
	p.mu.Unlock()
	if ok {
		return text
	}
	text = changes.Totals(changes.OfTables(old.Snapshot, now.Snapshot))
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.differences) >= maxTotals {
		clear(p.differences)
	}
	p.differences[key] = text
	return text
}

// Change is the step of a reference to its current snapshot, or between any two.
type Change struct {
	Reference string
	Old, New  *Snapshot // Old is nil if it is not at hand
}

type changedRow struct {
	changes.Change
	Href string
}

// From is where the new version comes from, and the old one if that is elsewhere.
func (r changedRow) From() string {
	if r.OldArchive != "" {
		return r.OldArchive + " → " + r.Archive
	}
	return r.Archive
}

// Changes tells which packages steps changed, those of one source together, security updates first: what diff tells
// without changelogs. ids are snapshots to choose others from.
func (p *Pages) Changes(v View, steps []Change, ids []string) ([]byte, error) {
	type group struct {
		Source   string
		Security bool
		Rows     []changedRow
	}
	type changed struct {
		Reference, Old, New, None string
		Totals                    string
		Groups                    []group
		More                      bool
	}
	data := struct {
		shell
		Changes  []changed
		IDs      []string
		From, To string
	}{shell: v.shell("changes"), IDs: ids[:min(len(ids), maxListed)]}
	for _, c := range steps {
		d := changed{Reference: c.Reference, None: "No snapshot before this one is at hand."}
		if c.Old != nil {
			d.Old, d.New = c.Old.Name, c.New.Name
			data.From, data.To = d.Old, d.New
			list := changes.OfTables(c.Old.Snapshot, c.New.Snapshot)
			d.Totals = changes.Totals(list)
			rows := 0
			for _, g := range changes.Groups(list) {
				out := group{Source: g.Source, Security: g.Security}
				for _, change := range g.Changes {
					if rows++; rows > maxListed {
						d.More = true
						break
					}
					row := changedRow{Change: change}
					if !change.Image && !change.File && change.New != "" {
						row.Href = packageLink(v.Root+"snapshot/"+d.New+"/", change.Archive, change.Name, change.New, change.Architecture)
					}
					out.Rows = append(out.Rows, row)
				}
				if len(out.Rows) > 0 {
					d.Groups = append(d.Groups, out)
				}
			}
		}
		data.Changes = append(data.Changes, d)
	}
	return p.html("changes", data)
}

// Trouble is what the page of an error says.
type Trouble struct {
	Status int
	Text   string // of the status
	Reason string
	Path   string
	Denied string // name of the rule that denies it
	Ask    string // a word to look for near names of; "": none
}

// Error is an error in the frame of the other pages, with names that are near what was asked for.
func (p *Pages) Error(v View, t Trouble) ([]byte, error) {
	data := struct {
		shell
		Trouble
		Near   []linked
		Keeper string // user ID of the site's key
	}{shell: v.shell(t.Text), Trouble: t}
	if len(v.Key.Fingerprints) > 0 {
		data.Keeper = v.owner(v.Key.Fingerprints[0])
	}
	if t.Ask != "" {
		data.Near = v.near(t.Ask)
	}
	return p.html("error", data)
}
