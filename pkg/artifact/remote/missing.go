package remote

import (
	"errors"
	"net/http"

	"oras.land/oras-go/v2/registry/remote/errcode"

	"example.org/mmoci/pkg/artifact/oci"
)

// MissingError is an error of a registry that does not have the tag or digest of a
// reference, or not its repository. It is [oci.ErrNotFound].
type MissingError struct {
	Ref oci.Reference
	// Repository: it is the repository that the registry does not know. A registry that only
	// says 404, or hides what it has, leaves it unset.
	Repository bool

	cause error
}

func (e *MissingError) Error() string {
	switch {
	case e.Repository:
		return e.Ref.Host() + " has no repository " + e.Ref.Repository()
	case !e.Ref.Digest.IsZero():
		return e.Ref.Name + " has no " + e.Ref.Digest.String()
	}
	return e.Ref.Name + " has no tag " + e.Ref.Tag
}

// Unwrap makes it [oci.ErrNotFound] and what the registry answered.
func (e *MissingError) Unwrap() []error { return []error{oci.ErrNotFound, e.cause} }

// explainReference is explain for a document that was asked for by reference.
func explainReference(doing string, ref oci.Reference, err error) error {
	if status(err) != http.StatusNotFound {
		return explain(doing+" "+ref.String(), ref, err)
	}
	missing := &MissingError{Ref: ref, cause: err}
	var response *errcode.ErrorResponse
	if errors.As(err, &response) {
		for _, e := range response.Errors {
			missing.Repository = missing.Repository || e.Code == errcode.ErrorCodeNameUnknown
		}
	}
	return missing
}
