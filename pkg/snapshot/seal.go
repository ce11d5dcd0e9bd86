package snapshot

import (
	"fmt"
	"slices"
	"time"

	"example.org/mmoci/pkg/archive/pgp"
)

// Sealed is a snapshot as it was read back, before anything in it is believed.
type Sealed struct {
	Root      Digest
	Pinned    bool // the reference named Root (or the whole way to it was given by digest): everything below is Pinned
	Statement []byte
	Signed    bool      // by its media type
	Date      time.Time // of the config, must equal the statement's
	Encoder   int       // of the config, likewise
	Needs     string    // of the config, likewise
	Table     []byte
	Lock      Blob   // the core's, must be the statement's; it is read by who asks for it
	Release   []Blob // the core's other layers, must be exactly the statement's signature files
	Blobs     Blobs
}

// Unseal verifies the statement and binds config, table, lock and the core's
// layers to it; files are verified when they are opened. How the statement comes out:
//
//	keyring  statement                  by tag         by digest (Pinned)
//	nil      unsigned                   Unverified     Pinned
//	nil      signed, by anybody         Unverified     Pinned
//	given    signed by one of its keys  Signed         Signed
//	given    signed by none of them     ErrIntegrity   ErrIntegrity
//	given    unsigned                   ErrIntegrity   Pinned
//
// A foreign signature is refused in spite of a pin: who names a key and a digest that
// do not belong together has made a mistake that the program cannot resolve.
// Whatever the trust, a clear-signed statement must be one message and nothing else.
// All errors wrap [ErrIntegrity]. The Sealed's bytes are kept and must not be changed.
func (s *Sealed) Unseal(keyring *pgp.Keyring) (*Snapshot, error) {
	st, err := s.statement(keyring)
	if err != nil {
		return nil, err
	}
	if err := s.bind(st); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrIntegrity)
	}
	table, err := OpenTable(s.Table)
	if err != nil {
		return nil, err
	}
	if err := st.checkSuiteRows(table); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrIntegrity)
	}
	if err := st.checkImageRows(table); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrIntegrity)
	}
	return &Snapshot{
		Root: s.Root, Statement: st, StatementBytes: s.Statement, Signed: s.Signed,
		Table: table, blobs: s.Blobs,
	}, nil
}

// statement verifies and parses it.
func (s *Sealed) statement(keyring *pgp.Keyring) (*Statement, error) {
	if len(s.Statement) > MaxStatement {
		return nil, fmt.Errorf("statement: %d bytes, more than %d: %w", len(s.Statement), MaxStatement, ErrIntegrity)
	}
	text, how, err := s.verify(keyring)
	if err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	st, err := ParseStatement(text, how)
	if err != nil {
		return nil, err
	}
	if err := st.checkSigned(s.Signed); err != nil {
		return nil, fmt.Errorf("statement: %w: %w", err, ErrIntegrity)
	}
	if err := how.CheckDated(st.Date); err != nil {
		return nil, fmt.Errorf("statement: %w", err)
	}
	return st, nil
}

// verify is the table in the comment of Unseal.
func (s *Sealed) verify(keyring *pgp.Keyring) ([]byte, pgp.How, error) {
	trust := pgp.Trust{Keyring: keyring}
	if keyring == nil && s.Pinned {
		trust.Digest = Sum(s.Statement).String()
	}
	switch {
	case s.Signed:
		return pgp.VerifyClearsigned(s.Statement, trust)
	case s.Pinned:
		return s.Statement, pgp.How{Kind: pgp.Pinned, Detail: "not signed"}, nil
	case keyring != nil:
		return nil, pgp.How{}, fmt.Errorf("not signed, but a key is demanded: %w", ErrIntegrity)
	}
	return s.Statement, pgp.How{Detail: "not signed"}, nil
}

// bind compares what the core holds with what the statement says.
func (s *Sealed) bind(st *Statement) error {
	if !s.Date.Equal(st.Date) {
		return fmt.Errorf("config: date %s, statement %s", FormatDate(s.Date), FormatDate(st.Date))
	}
	if s.Encoder != st.Encoder {
		return fmt.Errorf("config: encoder %d, statement %d", s.Encoder, st.Encoder)
	}
	if s.Needs != st.Needs {
		return fmt.Errorf("config: needs %.40q, statement %.40q", s.Needs, st.Needs)
	}
	if got := BlobOf(s.Table); got != st.Table {
		return fmt.Errorf("table: %s, statement %s", got, st.Table)
	}
	if s.Lock != st.Lock {
		return fmt.Errorf("lock: %s, statement %s", s.Lock, st.Lock)
	}
	want := st.ReleaseBlobs()
	for i, b := range s.Release {
		if !slices.Contains(want, b) {
			return fmt.Errorf("core: layer %s is no signature file of the statement", b)
		}
		if i < len(want) && want[i] != b {
			return fmt.Errorf("core: layer %s is twice or not in order", b)
		}
	}
	if len(s.Release) != len(want) {
		return fmt.Errorf("core: %d signature files, statement %d", len(s.Release), len(want))
	}
	return nil
}
