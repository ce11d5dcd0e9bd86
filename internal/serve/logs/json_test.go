package logs

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"testing"
	"time"
)

// records are written as slog's JSON handler writes them, to the byte.
func sameAsSlog(t *testing.T, r slog.Record) {
	t.Helper()
	var ours, theirs bytes.Buffer
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	err, want := newJSON(&ours, o).Handle(context.Background(), r), slog.NewJSONHandler(&theirs, o).Handle(context.Background(), r)
	if err != nil || want != nil || ours.String() != theirs.String() {
		t.Errorf("%v, %v\n%s%s", err, want, &ours, &theirs)
	}
}

func TestSameAsSlog(t *testing.T) {
	at := time.Date(2026, 11, 29, 7, 8, 9, 120_000, time.FixedZone("", 3600))
	for _, attrs := range [][]slog.Attr{
		nil,
		{slog.String("path", "/a b~"), slog.Int("n", -5), slog.Uint64("u", math.MaxUint64), slog.Bool("yes", true)},
		{slog.String("path", "a\"b")}, {slog.String("path", "a\\b")}, {slog.String("path", "\n\x00\x1b\x7f")}, {slog.String("path", "\xff\u2028ä<>&")}, {slog.String("a\"", "x")},
		{slog.Float64("f", 0)}, {slog.Float64("f", 1e-6)}, {slog.Float64("f", 9e-7)}, {slog.Float64("f", 123.456)}, {slog.Float64("f", 1e21)}, {slog.Float64("f", -1e20)},
		{slog.Float64("f", math.Inf(1))}, {slog.Float64("f", math.NaN())}, {slog.Duration("d", time.Second)}, {slog.Time("t", at)},
		{slog.Any("e", errors.New("late"))}, {slog.Any("l", []string{"a"})}, {slog.Group("g", slog.Int("n", 1))}, {slog.Group("")}, {slog.String("", "x")}, {{}},
	} {
		r := slog.NewRecord(at, slog.LevelWarn+1, "a message", 0)
		r.AddAttrs(attrs...)
		sameAsSlog(t, r)
	}
	sameAsSlog(t, slog.NewRecord(time.Time{}, slog.LevelInfo, "no time", 0))
	sameAsSlog(t, slog.NewRecord(time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC), slog.LevelInfo, "far away", 0))
	sameAsSlog(t, slog.NewRecord(at, slog.LevelInfo, "a\nline", 0))
}

// What a logger has of its own, and its level, count.
func TestJSONLogger(t *testing.T) {
	var b bytes.Buffer
	l := New(&b, JSON, slog.LevelWarn)
	l.Info("quiet")
	l.With("a", 1).WithGroup("g").Warn("loud", "b", 2)
	if want := `"msg":"loud","a":1,"g":{"b":2}}`; b.Len() < len(want) || b.String()[b.Len()-len(want)-1:] != want+"\n" || bytes.Count(b.Bytes(), []byte("\n")) != 1 {
		t.Errorf("%q", &b)
	}
}

// Lines of many requests do not mix, whoever writes them.
func TestWholeLines(t *testing.T) {
	var b bytes.Buffer
	l := New(&b, JSON, slog.LevelInfo)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				l.Info("plain", "a", "b")
				l.Info("other", "a", "\n")
			}
		})
	}
	all.Wait()
	for line := range bytes.Lines(b.Bytes()) {
		if !bytes.HasSuffix(line, []byte(`"a":"b"}`+"\n")) && !bytes.HasSuffix(line, []byte(`"a":"\n"}`+"\n")) {
			t.Fatalf("%q", line)
		}
	}
	if n := bytes.Count(b.Bytes(), []byte("\n")); n != 1600 {
		t.Errorf("%d lines", n)
	}
}

func FuzzJSON(f *testing.F) {
	f.Add("a", "b", int64(1), 0.5)
	f.Add("a\n", "\xff", int64(-1), 1e-7)
	f.Fuzz(func(t *testing.T, message, text string, n int64, x float64) {
		r := slog.NewRecord(time.Unix(n%1e10, 5), slog.LevelInfo, message, 0)
		r.AddAttrs(slog.String(text, message), slog.String("text", text), slog.Int64("n", n), slog.Float64("x", x))
		sameAsSlog(t, r)
	})
}
