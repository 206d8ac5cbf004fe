package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
)

// The exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitDenied      = 4
	exitConflict    = 5
	exitUnreachable = 6
	exitInterrupted = 130
)

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long: `gestor ends with one of these codes:

    0   done
    1   the operation failed (a deployment, a build), was cancelled, or the server has a fault
    2   wrong usage or invalid input; nothing was done
    3   there is no such thing
    4   not signed in, not allowed, or the server is not to be trusted
    5   conflict: the name is taken, another deployment is under way, somebody changed it meanwhile
    6   the server cannot be reached, is busy, or it took too long
  130   interrupted; the work on the servers goes on`,
	}
}

func environmentTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "environment",
		Short: "Variables gestor reads",
		Long: `gestor reads these variables:

  GESTOR_CONTEXT    the context to use, like --context
  GESTOR_URL        the server's address, instead of a context; several are separated by commas
  GESTOR_TOKEN      the bearer token, instead of the context's
  GESTOR_CA_FILE    a PEM file with the server's roots, instead of the context's
  NO_COLOR          any value: print without colours
  XDG_CONFIG_HOME   contexts are kept in gestor/contexts.toml under it; ~/.config if not set

--context wins over all of them. A CI job needs GESTOR_URL, GESTOR_TOKEN and, for a private root, GESTOR_CA_FILE.`,
	}
}

// usageError says that gestor was called wrongly.
type usageError struct {
	text    string
	command string
}

func (e *usageError) Error() string { return e.text }

func usage(c *cobra.Command, format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...), command: c.CommandPath()}
}

// failure is an operation that was begun and ended badly: exit code 1.
type failure struct{ message, fix string }

func (e *failure) Error() string { return e.message }

func failed(format string, args ...any) *failure {
	return &failure{message: fmt.Sprintf(format, args...)}
}

func (e *failure) withFix(format string, args ...any) *failure {
	e.fix = fmt.Sprintf(format, args...)
	return e
}

// reported is an error that the command itself has already shown.
type reported struct{ error }

func (e reported) Unwrap() error { return e.error }

// exitCode is the code for an error.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	if errors.Is(err, ErrInterrupted) {
		return exitInterrupted
	}
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	switch fault.KindOf(err) {
	case fault.KindInvalid:
		return exitUsage
	case fault.KindNotFound:
		return exitNotFound
	case fault.KindUnauthenticated, fault.KindDenied:
		return exitDenied
	case fault.KindExists, fault.KindConflict:
		return exitConflict
	case fault.KindUnavailable, fault.KindTimeout, fault.KindExhausted:
		return exitUnreachable
	default:
		return exitFailed
	}
}

// report shows an error, what it is and what to do, and returns the exit code.
func (r *run) report(err error) int {
	code := exitCode(err)
	if err == nil {
		return code
	}
	if _, shown := errors.AsType[reported](err); shown && !r.json {
		return code
	}
	if r.json {
		r.reportJSON(err, code)
		return code
	}
	r.reportText(err)
	return code
}

func (r *run) reportText(err error) {
	message, fix := explain(err)
	red := &output.Printer{Colours: r.env.ErrTerminal && r.wantsColours()}
	r.out.Notef("%s %s", red.Paint(output.Red, "error:"), message)
	if fix != "" {
		r.out.Notef("  %s", fix)
	}
}

func (r *run) reportJSON(err error, code int) {
	message, fix := explain(err)
	body := map[string]any{"kind": kindName(err), "message": message, "exit_code": code}
	if fix != "" {
		body["fix"] = fix
	}
	if f, ok := errors.AsType[*fault.Error](err); ok && f.Field != "" {
		body["field"] = f.Field
	}
	text, err := json.Marshal(map[string]any{"error": body})
	if err == nil {
		_, _ = fmt.Fprintf(r.env.Stderr, "%s\n", text)
	}
}

func kindName(err error) string {
	if _, ok := errors.AsType[*usageError](err); ok {
		return string(fault.KindInvalid)
	}
	if _, ok := errors.AsType[*failure](err); ok {
		return "failed"
	}
	if errors.Is(err, ErrInterrupted) {
		return string(fault.KindCancelled)
	}
	return string(fault.KindOf(err))
}

// explain splits an error into what happened and what to do next.
func explain(err error) (message, fix string) {
	if u, ok := errors.AsType[*usageError](err); ok {
		return u.text, "see: " + u.command + " --help"
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.message, f.fix
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return err.Error(), ""
	}
	message, fix = f.Message, f.Fix
	if f.Field != "" {
		message = f.Field + ": " + message
	}
	if fix == "" && f.Kind == fault.KindUnauthenticated {
		fix = "sign in with: gestor login"
	}
	if f.RetryAfter > 0 {
		fix = join(fix, "try again in "+output.Elapsed(f.RetryAfter))
	}
	return message, fix
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// cause prefers the reason a context ended over the error that followed from it.
func cause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if why := context.Cause(ctx); isStop(err) && !errors.Is(why, context.Canceled) {
		return why
	}
	return err
}

// isStop reports an error that only says that a context ended.
func isStop(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	kind := fault.KindOf(err)
	return kind == fault.KindCancelled || kind == fault.KindTimeout
}
