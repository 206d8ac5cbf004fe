package cluster

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// paused is the limit of the child whose process stands still.
const paused = 400 * time.Millisecond

// TestMain lets this program be the child, too.
func TestMain(m *testing.M) {
	if os.Getenv("GESTOR_TEST_PAUSED") == "" {
		os.Exit(m.Run())
	}
	dog := &watchdog{limit: paused, onStall: func(string) { say("hung") }}
	done := dog.watch("write log")
	say("begun")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	<-time.After(paused / 4) // the disk answers soon after the pause
	done()
	say("came back")
}

// say tells the parent.
func say(text string) { _, _ = fmt.Fprintln(os.Stdout, text) }

func TestWatchdog_DoesNotTakeAPauseOfTheMachineForAHungDisk(t *testing.T) {
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), "GESTOR_TEST_PAUSED=1")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "begun" {
		t.Fatalf("got %q", lines.Text())
	}
	if err := child.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * paused)
	if err := child.Process.Signal(unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(in); err != nil {
		t.Fatal(err)
	}
	if !lines.Scan() || lines.Text() != "came back" {
		t.Errorf("after a pause twice the limit: %q", lines.Text())
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A full disk lets the log make the file of a new segment and not fill it. From then on the log cannot be shortened, which a
// server that comes back to a new leader has to do.
func TestLog_ThatCannotBeShortenedEndsTheServerAndIsWholeAfterwards(t *testing.T) {
	dir := t.TempDir()
	w, err := openWAL(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var stuck error
	logs := watchedLogs{LogStore: w, dog: &watchdog{limit: time.Minute, onStuck: func(err error) { stuck = err }}}
	for i := range uint64(10) {
		if err := logs.StoreLog(&raft.Log{Index: i + 1, Term: 1, Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	for id := range 5 { // whatever the next one is called
		left := filepath.Join(dir, fmt.Sprintf("%020d-%016x.wal", 6, id))
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := logs.DeleteRange(6, 10); err == nil || stuck == nil {
		t.Fatalf("got %v, noticed %v", err, stuck)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w, err = openWAL(dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.DeleteRange(6, 10); err != nil {
		t.Fatal(err)
	}
	if last, err := w.LastIndex(); err != nil || last != 5 {
		t.Errorf("the log ends at %d, %v", last, err)
	}
}
