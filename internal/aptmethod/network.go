package aptmethod

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"

	"example.org/mmoci/internal/transfer"
	"example.org/mmoci/pkg/artifact/remote"
)

// networkReason is failReason for what a registry, or the way to it, failed by. Such a failure was tried again before, but
// for one of a registry that never answered.
func networkReason(err error) (reason string, transient bool) {
	var name *net.DNSError
	var timeout net.Error
	switch code := remote.Status(err); {
	case code == http.StatusTooManyRequests:
		return "TooManyRequests", true
	case code >= 500:
		return "HttpError" + strconv.Itoa(code), true
	case code != 0:
		return "HttpError" + strconv.Itoa(code), false
	case errors.As(err, &name) && name.IsTemporary:
		return "TmpResolveFailure", true
	case errors.As(err, &name):
		return "ResolveFailure", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return "ConnectionRefused", true
	case errors.Is(err, transfer.ErrStalled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "Timeout", true
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "", true
	}
	return "", false
}
