package task

import (
	"context"
	"errors"
	"io"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

// Executor carries out one kind of task.
type Executor interface {
	// Kind is the value of TaskSpec.kind it answers for.
	Kind() string
	// Run carries the task out. It may be called again with the same task after a crash, so its effects are
	// idempotent. It returns when ctx ends, with everything it started dead. Runs of tasks with different
	// resources overlap. An error is shown to people as it is and holds no secrets; Retryable marks those that
	// another attempt may heal.
	Run(ctx context.Context, t Task, out Sink) (*agentv1.TaskResult, error)
}

// Task is one piece of work.
type Task struct {
	// Spec says what to do.
	Spec *agentv1.TaskSpec
	// Secrets came with the assignment; never nil. They must not be written anywhere but where the task needs them.
	Secrets *agentv1.Secrets
	// Resumed tells that an earlier run of this task was cut off, so that parts of it may be done already.
	Resumed bool
}

// Sink takes what a task says while it runs. All methods may be called concurrently, and never block for long.
type Sink interface {
	// Phase names what the task does now, "clone" or "install"; it is progress and also stamps the lines that follow.
	Phase(name string)
	// Progress tells how far the task is, 0 to 100.
	Progress(percent int)
	// Logf writes a line of Gestor's own.
	Logf(format string, args ...any)
	// Stdout takes raw output of programs; it is split into lines, cut and redacted downstream.
	Stdout() io.Writer
	// Stderr is the same for error output.
	Stderr() io.Writer
}

type retryableError struct{ err error }

func (e *retryableError) Error() string { return e.err.Error() }
func (e *retryableError) Unwrap() error { return e.err }

// Retryable marks an error that another attempt may heal: a network that failed, not a syntax error.
// It returns nil for nil.
func Retryable(err error) error {
	if err == nil {
		return nil
	}
	return &retryableError{err}
}

// IsRetryable tells whether err, or an error it wraps, was marked by Retryable.
func IsRetryable(err error) bool {
	var marked *retryableError
	return errors.As(err, &marked)
}
