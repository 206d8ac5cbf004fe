package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

func TestEncode_KeepsTheKindAndHidesTheCause(t *testing.T) {
	cause := errors.New("sqlite: no such table: secrets")
	err := fmt.Errorf("read app: %w", fault.Exhausted("too much").WithCause(cause).WithFix("wait").WithRetryAfter(1500*time.Millisecond))
	ce, whole := rpc.Encode(err, "ref")
	if !whole || ce.Code() != connect.CodeResourceExhausted || ce.Message() != "too much" || strings.Contains(ce.Error(), "sqlite") {
		t.Fatalf("got %v, %v", ce, whole)
	}
	if got := ce.Meta().Get("Retry-After"); got != "2" {
		t.Errorf("Retry-After %q, want 2", got)
	}
}

func TestEncode_ShowsOnlyAReferenceForWhatHasNoKind(t *testing.T) {
	for _, err := range []error{errors.New("password is hunter2"), connect.NewError(connect.CodeUnknown, errors.New("hunter2")), &fault.Error{Kind: fault.KindInternal, Message: "hunter2"}} {
		ce, whole := rpc.Encode(err, "ref42")
		if whole || ce.Code() != connect.CodeInternal || strings.Contains(ce.Error(), "hunter2") || !strings.Contains(ce.Error(), "ref42") {
			t.Errorf("%v: got %v, %v", err, ce, whole)
		}
	}
}

func TestEncode_KnowsTheEndsOfContexts(t *testing.T) {
	for err, want := range map[error]connect.Code{context.Canceled: connect.CodeCanceled, context.DeadlineExceeded: connect.CodeDeadlineExceeded} {
		if ce, whole := rpc.Encode(fmt.Errorf("wait: %w", err), "ref"); !whole || ce.Code() != want {
			t.Errorf("%v: got %v", err, ce)
		}
	}
}

func TestClient_TellsWhichAddressIsOutOfReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	c := rpc.New(rpc.Options{Address: address})
	defer c.Close()
	_, err = gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...).ListApps(t.Context(), &gestorv1.ListAppsRequest{})
	if !errors.Is(err, fault.KindUnavailable) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "nothing listens there") {
		t.Fatalf("got %v", err)
	}
}

func TestClient_EndsAUnaryCallThatNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := rpc.New(rpc.Options{Address: l.Addr().String(), Timeout: 50 * time.Millisecond})
	defer c.Close()
	_, err = gestorv1connect.NewAppServiceClient(c.HTTP, c.URL, c.Options()...).ListApps(t.Context(), &gestorv1.ListAppsRequest{})
	if !errors.Is(err, fault.KindTimeout) {
		t.Fatalf("got %v", err)
	}
}

func TestRevision_OnlyGrows(t *testing.T) {
	var r rpc.Revision
	for _, n := range []uint64{3, 7, 5} {
		r.Saw(n)
	}
	if r.Get() != 7 {
		t.Fatalf("got %d", r.Get())
	}
}
