package chaintest

import (
	"context"
	"errors"
	"testing"
	"time"

	"example.org/mmoci/internal/push"
	"example.org/mmoci/internal/testregistry"
	"example.org/mmoci/pkg/archive/pgp"
)

// slowSigner takes as long as the choice over a whole release, and looks at no context.
type slowSigner struct {
	pgp.Signer
	asked  chan struct{}
	resume chan struct{}
}

func (s slowSigner) Clearsign(text []byte, t time.Time) ([]byte, error) {
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-s.resume
	return s.Signer.Clearsign(text, t)
}

// A phase of a push that looks at no context is left behind when that ends: the push ends soon.
func TestComputingIsLeftBehind(t *testing.T) {
	t.Parallel()
	d := newDaily(t, testregistry.Options{})
	slow := slowSigner{d.pushing.Signer, make(chan struct{}, 1), make(chan struct{})}
	defer close(slow.resume)
	d.pushing.Signer = slow
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := push.Run(ctx, d.pushing)
		ended <- err
	}()
	<-slow.asked
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second): // the machine that tests may be busy
		t.Error("it goes on")
	}
}
