package outcome

import "errors"

// Remedy is what helps against an error. A library names it; the command puts
// it into words, because it alone knows its flags.
type Remedy string

const (
	AcceptKey         Remedy = "accept the key" // fingerprints
	AllowEmpty        Remedy = "allow an empty snapshot"
	AllowOlder        Remedy = "allow an older snapshot"
	AllowOlderSuite   Remedy = "allow an older suite" // suite
	CopyInstead       Remedy = "copy, do not link"
	ChooseDate        Remedy = "choose the next date"
	EarlierKey        Remedy = "trust the earlier key, or replace it"
	GiveAKey          Remedy = "give a key" // prefixes of the snapshot, its reference, its digest
	GiveDate          Remedy = "give a date"
	GiveLock          Remedy = "give a lock"
	GiveSiteKey       Remedy = "give the site's key"
	GiveSigningKey    Remedy = "give a signing key"
	GiveUpstreamKey   Remedy = "give upstream's key" // prefix
	KeepSome          Remedy = "say what to keep"
	MakeAnew          Remedy = "make the layers anew"
	NameKeyring       Remedy = "name upstream's keyring"
	PushUnsigned      Remedy = "give a signing key, or none"
	PushWhole         Remedy = "allow whole archives"
	Redate            Remedy = "give it the next date"
	Repair            Remedy = "put it again"
	RepairOrReplace   Remedy = "put it again, or replace it"
	Replace           Remedy = "replace it"
	ReplaceOrSameDate Remedy = "replace it, or give its date" // the root that is there
	TellAgain         Remedy = "tell it again"
	UpdateLock        Remedy = "update the lock"
)

// RemediedError is an error with what helps against it.
type RemediedError struct {
	Err    error
	Remedy Remedy
	Args   []any // what the words name, as the constants say
}

func (e *RemediedError) Error() string { return e.Err.Error() }
func (e *RemediedError) Unwrap() error { return e.Err }

// For returns err with the remedy r. Its text stays as it is.
func (r Remedy) For(err error, args ...any) error { return &RemediedError{err, r, args} }

// RemedyOf returns the remedy of an error and what its words name; "" if it has none.
func RemedyOf(err error) (Remedy, []any) {
	var e *RemediedError
	if !errors.As(err, &e) {
		return "", nil
	}
	return e.Remedy, e.Args
}
