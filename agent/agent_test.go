package agent_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/agent"
	"github.com/saas-gestor/gestor/agent/agenttest"
	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func TestAgent_RunsATaskAndSendsItsLogWithoutSecrets(t *testing.T) {
	s := agenttest.New(t)
	h := newHost(t, s, executor{"test", func(_ context.Context, x task.Task, out task.Sink) error {
		out.Phase("build")
		out.Logf("hello")
		_, _ = io.WriteString(out.Stdout(), "the password is hunt")
		_, _ = io.WriteString(out.Stdout(), "er2hunter2\x00\xff!\n")
		return errors.New("cannot sign in with " + x.Secrets.GetEnv()["PASSWORD"])
	}})
	h.start()
	s.WaitSessions(1)
	s.Assign(spec("tsk_1", 7, "app/shop"), &agentv1.Secrets{Env: map[string]string{"PASSWORD": "hunter2hunter2"}})
	end := s.WaitFinished("tsk_1")
	if end.GetOutcome() != agentv1.Outcome_OUTCOME_FAILED || end.GetError() != "cannot sign in with [redacted]" || end.GetFence() != 7 {
		t.Errorf("result is %v", end)
	}
	lines := s.WaitLog("tsk_1")
	if len(lines) != 3 || lines[0].GetText() != "hello" || lines[0].GetPhase() != "build" || lines[1].GetText() != "the password is [redacted]\uFFFD!" {
		t.Errorf("lines are %v", lines)
	}
	assertNowhere(t, h.config.DataDir, "hunter2")
}

func TestAgent_SendsResultAgainUntilAcknowledged(t *testing.T) {
	s := agenttest.New(t)
	s.HoldAcks(true)
	runs := make(chan struct{}, 10)
	h := newHost(t, s, executor{"test", func(context.Context, task.Task, task.Sink) error { runs <- struct{}{}; return nil }})
	h.start()
	s.WaitSessions(1)
	s.Assign(spec("tsk_1", 7, "app/shop"), nil)
	s.WaitReports("tsk_1", 1)
	s.Drop()
	s.WaitReports("tsk_1", 2)
	h.stop()
	h.start()
	s.WaitReports("tsk_1", 3)
	s.HoldAcks(false)
	s.Drop()
	s.WaitReports("tsk_1", 4)
	s.WaitHeartbeats(2) // the acknowledgement has arrived by then
	n := s.Sessions()
	s.Drop()
	if hello := s.WaitSessions(n + 1); len(hello.GetTasks()) != 0 {
		t.Errorf("still held after acknowledgement: %v", hello.GetTasks())
	}
	if len(runs) != 1 {
		t.Errorf("the task ran %d times", len(runs))
	}
}

func TestAgent_FinishesWhileTheServerIsAwayAndReportsLater(t *testing.T) {
	s := agenttest.New(t)
	release, ended := make(chan struct{}), make(chan struct{})
	h := newHost(t, s, executor{"test", func(_ context.Context, _ task.Task, out task.Sink) error {
		<-release
		out.Logf("while you were away")
		close(ended)
		return nil
	}})
	h.start()
	s.WaitSessions(1)
	s.Assign(spec("tsk_1", 7, "app/shop"), nil)
	s.WaitStarted("tsk_1", 1)
	s.Stop()
	close(release)
	<-ended
	s.Start()
	if end := s.WaitFinished("tsk_1"); end.GetOutcome() != agentv1.Outcome_OUTCOME_SUCCEEDED {
		t.Errorf("result is %v", end)
	}
	if lines := s.WaitLog("tsk_1"); len(lines) != 1 || lines[0].GetText() != "while you were away" {
		t.Errorf("lines are %v", lines)
	}
}

func TestAgent_ResumesAfterRestart(t *testing.T) {
	for name, secrets := range map[string]*agentv1.Secrets{"without secrets": nil, "with secrets": {Env: map[string]string{"A": "secret-value"}}} {
		t.Run(name, func(t *testing.T) {
			s := agenttest.New(t)
			first, runs := true, make(chan struct{})
			h := newHost(t, s, executor{"test", func(ctx context.Context, x task.Task, _ task.Sink) error {
				if first {
					first = false
					close(runs)
					<-ctx.Done()
					return ctx.Err()
				}
				if !x.Resumed || x.Secrets.GetEnv()["A"] != secrets.GetEnv()["A"] {
					return errors.New("not resumed as it should be")
				}
				return nil
			}})
			h.start()
			s.WaitSessions(1)
			s.Assign(spec("tsk_1", 7, "app/shop"), secrets)
			s.WaitStarted("tsk_1", 1)
			<-runs // it is told to be started before it is
			h.stop()
			assertNowhere(t, h.config.DataDir, "secret-value")
			h.start()
			if end := s.WaitFinished("tsk_1"); end.GetOutcome() != agentv1.Outcome_OUTCOME_SUCCEEDED || end.GetFence() != 7 {
				t.Errorf("result is %v", end)
			}
		})
	}
}

func TestAgent_CancelsOnRequest(t *testing.T) {
	s := agenttest.New(t)
	returned := make(chan struct{})
	h := newHost(t, s, executor{"test", func(ctx context.Context, _ task.Task, _ task.Sink) error {
		<-ctx.Done()
		close(returned)
		return ctx.Err()
	}})
	h.start()
	s.WaitSessions(1)
	s.Assign(spec("tsk_1", 7, "app/shop"), nil)
	s.WaitStarted("tsk_1", 1)
	s.Cancel("tsk_1", 6)
	s.WaitHeartbeats(2)
	select {
	case <-returned:
		t.Fatal("cancelled by a wrong fence")
	default:
	}
	s.Cancel("tsk_1", 7)
	end := s.WaitFinished("tsk_1")
	<-returned
	if end.GetOutcome() != agentv1.Outcome_OUTCOME_CANCELLED || !strings.Contains(end.GetError(), "a test wants it") {
		t.Errorf("result is %v", end)
	}
}

func TestAgent_RefusesStaleFenceAndIgnoresDuplicates(t *testing.T) {
	s := agenttest.New(t)
	runs := make(chan string, 10)
	h := newHost(t, s, executor{"test", func(_ context.Context, x task.Task, _ task.Sink) error { runs <- x.Spec.GetId(); return nil }})
	h.start()
	s.WaitSessions(1)
	s.Assign(spec("tsk_1", 7, "app/shop"), nil)
	s.WaitFinished("tsk_1")
	s.Assign(spec("tsk_1", 7, "app/shop"), nil)
	s.Assign(spec("tsk_0", 6, "app/shop"), nil)
	if end := s.WaitFinished("tsk_0"); end.GetOutcome() != agentv1.Outcome_OUTCOME_FAILED || !strings.Contains(end.GetError(), "newer than 6") {
		t.Errorf("result of stale assignment is %v", end)
	}
	s.Assign(spec("tsk_2", 8, "app/shop"), nil)
	s.WaitFinished("tsk_2")
	close(runs)
	var all []string
	for id := range runs {
		all = append(all, id)
	}
	if strings.Join(all, " ") != "tsk_1 tsk_2" {
		t.Errorf("ran %v", all)
	}
}

func TestAgent_FailsWhatItCannotOrMustNotDo(t *testing.T) {
	s := agenttest.New(t)
	h := newHost(t, s, executor{"panic", func(context.Context, task.Task, task.Sink) error { panic("broken") }},
		executor{"late", func(ctx context.Context, _ task.Task, _ task.Sink) error { <-ctx.Done(); return ctx.Err() }})
	if err := os.WriteFile(h.config.PolicyFile, []byte("forbid_kinds = [\"build\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	if hello := s.WaitSessions(1); strings.Join(hello.GetFacts().GetForbiddenKinds(), "") != "build" {
		t.Errorf("facts tell of %v", hello.GetFacts().GetForbiddenKinds())
	}
	for i, c := range []struct{ kind, want string }{
		{"future", "too old for tasks of kind \"future\""},
		{"build", "policy of this host forbids build"},
		{"panic", "the agent broke"},
		{"late", "time is up"},
	} {
		x := spec("tsk_"+c.kind, uint64(i+1), "task/"+c.kind)
		x.Kind = c.kind
		x.Deadline = timestamppb.New(time.Now().Add(300 * time.Millisecond))
		s.Assign(x, nil)
		if end := s.WaitFinished(x.GetId()); end.GetOutcome() != agentv1.Outcome_OUTCOME_FAILED || !strings.Contains(end.GetError(), c.want) {
			t.Errorf("result of %s is %v", c.kind, end)
		}
	}
}

func TestAgent_RunsOneTaskPerResource(t *testing.T) {
	s := agenttest.New(t)
	release := make(chan struct{})
	running := make(chan string, 10)
	h := newHost(t, s, executor{"test", func(_ context.Context, x task.Task, _ task.Sink) error {
		running <- x.Spec.GetId()
		<-release
		return nil
	}})
	h.start()
	s.WaitSessions(1)
	s.Assign(spec("tsk_1", 1, "app/a"), nil)
	s.Assign(spec("tsk_2", 2, "app/a"), nil)
	s.Assign(spec("tsk_3", 3, "app/b"), nil)
	s.WaitStarted("tsk_1", 1)
	s.WaitStarted("tsk_3", 1)
	s.WaitHeartbeats(2)
	if len(running) != 2 {
		t.Errorf("%d tasks run", len(running))
	}
	close(release)
	s.WaitFinished("tsk_2")
}

func TestAgent_HonoursGoodbyeAndComesBack(t *testing.T) {
	s := agenttest.New(t)
	newHost(t, s).start()
	s.WaitSessions(1)
	s.Goodbye(50 * time.Millisecond)
	s.WaitSessions(2)
}

func TestAgent_UsesADataDirectoryAlone(t *testing.T) {
	s := agenttest.New(t)
	h := newHost(t, s)
	h.start()
	if _, err := agent.New(h.config); !errors.Is(err, fault.KindConflict) {
		t.Errorf("second agent: %v", err)
	}
}

func TestAgent_TailsAnApp(t *testing.T) {
	s := agenttest.New(t)
	h := newHost(t, s)
	logDir := filepath.Join(h.config.DeployRoot, "shop", "shared", "logs")
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(logDir, "app.log")
	if err := os.WriteFile(path, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.start()
	s.WaitSessions(1)
	s.OpenTail(&agentv1.OpenTail{LogId: "tail/x", Slug: "shop", Last: 2, Follow: true})
	s.WaitLines("tail/x", 2)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("four\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, l := range s.WaitLines("tail/x", 3) {
		texts = append(texts, l.GetText())
	}
	if strings.Join(texts, " ") != "two three four" {
		t.Errorf("tailed %v", texts)
	}
	s.OpenTail(&agentv1.OpenTail{LogId: "tail/y", Slug: "../shop", Last: 2})
	if end := s.WaitTailEnded("tail/y"); !strings.Contains(end.GetError(), "not the slug") {
		t.Errorf("tail of a hostile slug ended with %q", end.GetError())
	}
}

func TestAgent_MovesBlobsOverBrokenConnections(t *testing.T) {
	s := agenttest.New(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	h := newHost(t, s)
	a, err := agent.New(h.config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s.Stop()
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	put := make(chan error, 1)
	go func() { put <- a.Blobs().Put(ctx, "tsk_1", 1, digest, int64(len(content)), bytes.NewReader(content)) }()
	s.Start()
	if err := <-put; err != nil || !bytes.Equal(s.Blob(digest), content) {
		t.Fatalf("put: %v, %d bytes arrived", err, len(s.Blob(digest)))
	}
	s.BreakNextGet()
	r, err := a.Blobs().Get(ctx, "tsk_1", 1, digest, 16)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[16:]) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if _, err := a.Blobs().Get(ctx, "tsk_1", 1, "none", 0); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("get of nothing: %v", err)
	}
}

func TestAgent_ComesBackWithAnExpiredCertificate(t *testing.T) {
	s := agenttest.New(t)
	s.CertificateLife(-time.Minute) // as after a long holiday
	h := newHost(t, s)
	s.CertificateLife(time.Hour)
	s.LoseNextRenewal()
	h.start()
	s.WaitSessions(1)
	i, _, err := agent.IdentityDir(h.config.Config).Load()
	if err != nil || i.Generation != 2 || !i.NotAfter.After(time.Now()) {
		t.Errorf("generation %d, good until %s, %v", i.Generation, i.NotAfter, err)
	}
}
