package cluster

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// paused is the limit of the child whose process stands still.
const paused = 400 * time.Millisecond

// TestMain lets this program be the child, too.
func TestMain(m *testing.M) {
	if os.Getenv("GESTOR_TEST_PAUSED") == "" {
		os.Exit(m.Run())
	}
	dog := &watchdog{limit: paused, onStall: func(string) { fmt.Println("hung") }}
	done := dog.watch("write log")
	fmt.Println("begun")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	<-time.After(paused / 4) // the disk answers soon after the pause
	done()
	fmt.Println("came back")
}

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
