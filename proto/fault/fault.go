// Package fault holds the kinds of error that survive the wire. Code that knows what an error means says so
// with a constructor; everything above wraps it with %w; the edge maps the kind to a Connect code once, and the
// client side maps it back, so that errors.Is works across processes. An error without a kind is Internal: people
// see a reference, the log has the rest.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind is what sort of thing went wrong. A Kind is itself an error, so errors.Is(err, fault.KindNotFound) holds for
// every error of that kind.
type Kind string

// The kinds, each with the exit code of the CLI in Kind.ExitCode.
const (
	KindInvalid         Kind = "invalid"         // the caller sent something wrong; Field names it
	KindNotFound        Kind = "not_found"       // there is no such thing, or the caller may not know of it
	KindExists          Kind = "exists"          // the name is taken
	KindConflict        Kind = "conflict"        // not now: the state of things forbids it
	KindUnauthenticated Kind = "unauthenticated" // nobody is signed in
	KindDenied          Kind = "denied"          // signed in, not allowed
	KindExhausted       Kind = "exhausted"       // too much; RetryAfter says when to come again
	KindUnavailable     Kind = "unavailable"     // this part is down or out of reach; trying again may help
	KindTimeout         Kind = "timeout"         // it took too long
	KindCancelled       Kind = "cancelled"       // somebody stopped it
	KindInternal        Kind = "internal"        // our fault
)

// Error makes a Kind usable with errors.Is.
func (k Kind) Error() string { return string(k) }

// Error is an error with a kind and a message for people: what happened, to what, and what to do next. It holds no
// secret and no SQL.
type Error struct {
	Kind       Kind
	Message    string        // one sentence, lower-case start, no full stop
	Field      string        // the request field that is wrong, for KindInvalid
	Fix        string        // what to do, if it is not plain from the message
	RetryAfter time.Duration // when to come again, for KindExhausted and KindUnavailable; 0 if unknown
	// NothingDone says that nothing of the request was done, so that any request may be sent again, to whichever server.
	NothingDone bool
	// Reason tells programs what the message tells people, where they can do something about it; empty otherwise.
	Reason Reason `json:",omitempty"`
	cause  error
}

// Error is the message with the field and the fix.
func (e *Error) Error() string {
	msg := e.Message
	if e.Field != "" {
		msg = e.Field + ": " + msg
	}
	if e.Fix != "" {
		msg += "; " + e.Fix
	}
	return msg
}

// Unwrap returns the cause, which stays inside the process.
func (e *Error) Unwrap() error { return e.cause }

// Is reports whether target is e's kind.
func (e *Error) Is(target error) bool {
	k, ok := target.(Kind)
	return ok && k == e.Kind
}

// WithFix adds what to do next and returns e.
func (e *Error) WithFix(format string, args ...any) *Error {
	e.Fix = fmt.Sprintf(format, args...)
	return e
}

// WithCause keeps the error behind e for the log and returns e.
func (e *Error) WithCause(err error) *Error {
	e.cause = err
	return e
}

// WithRetryAfter says when to come again and returns e.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Reason is why a request was refused, where a program can help.
type Reason string

// The reasons.
const (
	ReasonStepUp       Reason = "step_up"       // prove again who you are, then repeat the request
	ReasonSecondFactor Reason = "second_factor" // set a second factor up first
)

// WithReason tells programs why and returns e.
func (e *Error) WithReason(r Reason) *Error {
	e.Reason = r
	return e
}

// ReasonOf returns the reason of the first fault in err's chain; empty if there is none.
func ReasonOf(err error) Reason {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return ""
}

// WithNothingDone says that nothing of the request was done and returns e.
func (e *Error) WithNothingDone() *Error {
	e.NothingDone = true
	return e
}

func newError(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Invalid says that field of a request is wrong.
func Invalid(field, format string, args ...any) *Error {
	e := newError(KindInvalid, format, args...)
	e.Field = field
	return e
}

// NotFound says that there is no such thing in the caller's scope.
func NotFound(format string, args ...any) *Error { return newError(KindNotFound, format, args...) }

// Exists says that a name is taken.
func Exists(format string, args ...any) *Error { return newError(KindExists, format, args...) }

// Conflict says that the state of things forbids it now.
func Conflict(format string, args ...any) *Error { return newError(KindConflict, format, args...) }

// Unauthenticated says that nobody is signed in.
func Unauthenticated(format string, args ...any) *Error {
	return newError(KindUnauthenticated, format, args...)
}

// Denied says that the caller is not allowed to.
func Denied(format string, args ...any) *Error { return newError(KindDenied, format, args...) }

// Exhausted says that it is too much for now.
func Exhausted(format string, args ...any) *Error { return newError(KindExhausted, format, args...) }

// Unavailable says that a part is out of reach.
func Unavailable(format string, args ...any) *Error {
	return newError(KindUnavailable, format, args...)
}

// Timeout says that it took too long.
func Timeout(format string, args ...any) *Error { return newError(KindTimeout, format, args...) }

// Cancelled says that somebody stopped it.
func Cancelled(format string, args ...any) *Error { return newError(KindCancelled, format, args...) }

// KindOf returns the kind of the first fault in err's chain, KindInternal if there is none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return KindInternal
}

// Wrap adds the act in progress to err and keeps its kind and its message for people; an error without a kind stays
// without one. It returns nil for nil.
func Wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), err)
}
