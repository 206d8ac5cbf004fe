package cmd

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/saas-gestor/gestor/proto/fault"
)

// Env is what a run of gestor touches of the world.
type Env struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer

	InTerminal  bool // a person answers on Stdin
	OutTerminal bool // a person looks at Stdout
	ErrTerminal bool // a person looks at Stderr
	Width       int  // columns of the terminal; 0 if unknown

	Getenv  func(string) string
	Dir     string // the current directory
	Now     func() time.Time
	Version string

	// Interrupts returns a context that the next Ctrl-C ends with cause ErrInterrupted.
	Interrupts func(context.Context) (context.Context, context.CancelFunc)
	// ReadSecret reads a line from the terminal without showing it. When done closes it gives the terminal back.
	ReadSecret func(done <-chan struct{}) (string, error)
}

// ErrInterrupted is why a command ends at Ctrl-C.
var ErrInterrupted = errors.New("interrupted")

// System is the Env of the real program.
func System(version string) Env {
	dir, err := os.Getwd()
	if err != nil {
		dir = "."
	}
	width, _, _ := term.GetSize(int(os.Stderr.Fd())) // 0 if it is no terminal
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		InTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		OutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Width:       width,
		Getenv:      os.Getenv,
		Dir:         dir,
		Now:         time.Now,
		Version:     version,
		Interrupts:  interrupts,
		ReadSecret:  readSecret,
	}
}

// readSecret leaves the terminal as it was even when Ctrl-C comes first: a shell without echo is no way to say goodbye.
func readSecret(done <-chan struct{}) (string, error) {
	fd := int(os.Stdin.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", err
	}
	secret, err := answer(done, func() (string, error) {
		raw, err := term.ReadPassword(fd)
		return string(raw), err
	})
	if errors.Is(err, ErrInterrupted) {
		_ = term.Restore(fd, before) // the program ends next
	}
	return secret, err
}

// answer waits for a person or for done. A read that nobody answers ends with the program.
func answer(done <-chan struct{}, read func() (string, error)) (string, error) {
	type line struct {
		text string
		err  error
	}
	lines := make(chan line, 1)
	go func() {
		text, err := read()
		lines <- line{text, err}
	}()
	select {
	case l := <-lines:
		return l.text, l.err
	case <-done:
		return "", ErrInterrupted
	}
}

func interrupts(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel(ErrInterrupted)
		case <-ctx.Done():
		}
		signal.Stop(signals) // from here on a signal ends the process
	}()
	return ctx, func() { cancel(context.Canceled) }
}

// confirm asks a yes-or-no question on a terminal; Enter is yes.
func (r *run) confirm(question, flag string) error {
	if !r.env.InTerminal || r.out.JSON {
		return fault.Invalid("", "this needs a confirmation and nobody is there to ask").WithFix("add %s", flag)
	}
	answer, err := r.ask(question + " [Y/n]")
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "", "y", "yes":
		return nil
	default:
		return fault.Cancelled("nothing was changed")
	}
}

// ask reads one line from a person.
func (r *run) ask(question string) (string, error) {
	_, _ = io.WriteString(r.env.Stderr, question+" ")
	if r.answers == nil {
		r.answers = bufio.NewReader(io.LimitReader(r.env.Stdin, maxStdin))
	}
	line, err := answer(r.stopped, func() (string, error) { return r.answers.ReadString('\n') })
	if errors.Is(err, ErrInterrupted) {
		return "", err
	}
	if err != nil && (line == "" || !errors.Is(err, io.EOF)) {
		return "", fault.Cancelled("no answer; nothing was changed").WithCause(err)
	}
	return strings.TrimSpace(line), nil
}

// secret reads a secret from a terminal, or a line from standard input if fromStdin is set.
func (r *run) secret(prompt, flag string, fromStdin bool) (string, error) {
	if fromStdin {
		raw, err := r.stdin()
		return strings.TrimRight(raw, "\r\n"), err
	}
	if !r.env.InTerminal {
		return "", fault.Invalid("", "%s is needed and nobody is there to ask", prompt).WithFix("add %s", flag)
	}
	_, _ = io.WriteString(r.env.Stderr, prompt+": ")
	secret, err := r.env.ReadSecret(r.stopped)
	_, _ = io.WriteString(r.env.Stderr, "\n")
	if errors.Is(err, ErrInterrupted) {
		return "", err
	}
	if err != nil {
		return "", fault.Cancelled("no answer; nothing was changed").WithCause(err)
	}
	return secret, nil
}

// maxStdin bounds what is read of standard input, in bytes.
const maxStdin = 4 << 20

func (r *run) stdin() (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r.env.Stdin, maxStdin))
	return string(raw), err
}
