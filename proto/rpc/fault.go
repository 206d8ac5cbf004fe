package rpc

import (
	"context"
	"errors"
	"math"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// Encode turns err into what a client may see of it, and reports whether that is the whole of it. An error without
// a kind becomes "internal error, reference <reference>"; the caller logs it under that reference.
func Encode(err error, reference string) (ce *connect.Error, whole bool) {
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Kind != fault.KindInternal {
		return encodeFault(f), true
	}
	if e, ok := errors.AsType[*connect.Error](err); ok && e.Code() != connect.CodeInternal && e.Code() != connect.CodeUnknown {
		return e, true // the transport's own: a malformed message, an unknown method
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return encodeFault(fault.Timeout("the request took too long")), true
	case errors.Is(err, context.Canceled):
		return encodeFault(fault.Cancelled("the request was cancelled")), true
	}
	return encodeFault(internal(reference)), false
}

func internal(reference string) *fault.Error {
	return (&fault.Error{Kind: fault.KindInternal, Message: "internal error, reference " + reference}).
		WithFix("look for the reference in the server's log")
}

func encodeFault(f *fault.Error) *connect.Error {
	ce := connect.NewError(codeOf(f.Kind), errors.New(f.Message))
	body := &gestorv1.Fault{Kind: string(f.Kind), Field: f.Field, Fix: f.Fix, NothingDone: f.NothingDone, Reason: string(f.Reason)}
	if f.RetryAfter > 0 {
		body.RetryAfter = durationpb.New(f.RetryAfter)
		ce.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	detail, err := connect.NewErrorDetail(body)
	if err != nil { // only an unregistered message cannot be packed
		panic("rpc: pack fault: " + err.Error())
	}
	ce.AddDetail(detail)
	return ce
}

// Decode turns what a call to address returned back into a fault. Errors of the network become KindUnavailable.
func Decode(err error, address string) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	ce, ok := errors.AsType[*connect.Error](err)
	if !ok {
		return decodePlain(err, address)
	}
	if !connect.IsWireError(err) {
		return decodeLocal(ce, address)
	}
	f := &fault.Error{Kind: kindOf(ce.Code()), Message: ce.Message()}
	for _, d := range ce.Details() {
		if v, err := d.Value(); err == nil {
			fill(f, v)
		}
	}
	return f
}

func fill(f *fault.Error, detail any) {
	body, ok := detail.(*gestorv1.Fault)
	if !ok {
		return
	}
	if _, known := codes()[fault.Kind(body.GetKind())]; known {
		f.Kind = fault.Kind(body.GetKind())
	}
	f.Field, f.Fix, f.NothingDone = body.GetField(), body.GetFix(), body.GetNothingDone()
	f.Reason = fault.Reason(body.GetReason())
	if body.GetRetryAfter() != nil {
		f.RetryAfter = max(0, min(body.GetRetryAfter().AsDuration(), time.Hour))
	}
}

// decodeLocal handles what the client's own side of Connect said: mostly the network.
func decodeLocal(ce *connect.Error, address string) error {
	switch ce.Code() {
	case connect.CodeUnavailable, connect.CodeUnknown, connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return decodePlain(ce, address)
	default:
		return (&fault.Error{Kind: kindOf(ce.Code()), Message: ce.Message()}).WithCause(ce)
	}
}

func codeOf(k fault.Kind) connect.Code {
	if c, ok := codes()[k]; ok {
		return c
	}
	return connect.CodeInternal
}

func kindOf(c connect.Code) fault.Kind {
	for k, code := range codes() {
		if code == c {
			return k
		}
	}
	return fault.KindInternal
}

// codes is one to one, so that an error without our detail still finds its kind.
func codes() map[fault.Kind]connect.Code {
	return map[fault.Kind]connect.Code{
		fault.KindInvalid:         connect.CodeInvalidArgument,
		fault.KindNotFound:        connect.CodeNotFound,
		fault.KindExists:          connect.CodeAlreadyExists,
		fault.KindConflict:        connect.CodeFailedPrecondition,
		fault.KindUnauthenticated: connect.CodeUnauthenticated,
		fault.KindDenied:          connect.CodePermissionDenied,
		fault.KindExhausted:       connect.CodeResourceExhausted,
		fault.KindUnavailable:     connect.CodeUnavailable,
		fault.KindTimeout:         connect.CodeDeadlineExceeded,
		fault.KindCancelled:       connect.CodeCanceled,
		fault.KindInternal:        connect.CodeInternal,
	}
}
