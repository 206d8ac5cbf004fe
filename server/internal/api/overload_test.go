package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/server/internal/limit"
)

// do sends a request and returns the answer's headers, its Connect code and its text.
func (w *wall) do(t *testing.T, caller string, req *http.Request) (http.Header, string, string) {
	t.Helper()
	res, err := w.client(t, caller).HTTP.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var failure struct{ Code string }
	_ = json.Unmarshal(answer, &failure) // what is no failure has no code
	return res.Header, failure.Code, string(answer)
}

func TestLimits_AFloodOfOneTenantLeavesAnothersCallsAlone(t *testing.T) {
	now := time.Now()
	var refused sync.Map
	w := newWallOf(t, true, now, func(d *Deps) {
		d.Limits = NewLimits(LimitsOptions{TenantReads: 10, TenantWrites: 1, Now: func() time.Time { return now }})
		d.Refused = func(reason string) { refused.Store(reason, true) }
	})
	through := 0
	for range 100 {
		header, code, text := w.ask(t, "admin", aRead, nil)
		switch {
		case code == "unimplemented":
			through++
		case code != "resource_exhausted" || header.Get("Retry-After") != "1" || !strings.Contains(text, "tenant"):
			t.Fatalf("got %s %s %v", code, text, header)
		}
	}
	if through != bursts*10 {
		t.Errorf("%d calls went through, want the burst of %d", through, bursts*10)
	}
	if _, code, _ := w.ask(t, "viewer", aRead, nil); code != "resource_exhausted" {
		t.Errorf("another user of the same tenant: %s", code)
	}
	if _, code, _ := w.ask(t, "admin", aMutation, nil); code == "resource_exhausted" {
		t.Error("reads used up the allowance of changes")
	}
	if _, code, _ := w.ask(t, "other", aRead, nil); code != "unimplemented" {
		t.Errorf("a user of another tenant: %s", code)
	}
	if _, ok := refused.Load(refusedTenant); !ok {
		t.Error("monitoring was not told")
	}
}

func TestLimits_AnAddressIsBoundedBeforeAnythingIsLookedUp(t *testing.T) {
	l := NewLimits(LimitsOptions{AddressReads: 5, AddressWrites: 5})
	read := connect.Spec{IdempotencyLevel: connect.IdempotencyNoSideEffects}
	for range 100 {
		l.fromAddress("203.0.113.7", read)
	}
	for address, bounded := range map[string]bool{"203.0.113.7": true, "203.0.113.8": false, "127.0.0.1": false, "::1": false} {
		if got := l.fromAddress(address, read) > 0; got != bounded {
			t.Errorf("%s: bounded is %v", address, got)
		}
	}
	for range 100 {
		l.fromAddress("2001:db8::1", read)
	}
	if l.fromAddress("2001:db8::2", read) == 0 {
		t.Error("one /64 has as many allowances as addresses")
	}
	if l.fromAddress("203.0.113.7", connect.Spec{}) > 0 {
		t.Error("reads used up the allowance of changes")
	}
}

// slowApps answers reads when it is told to.
type slowApps struct {
	gestorv1connect.UnimplementedAppServiceHandler
	running chan struct{}
	release chan struct{}
}

func (s *slowApps) ListApps(ctx context.Context, _ *gestorv1.ListAppsRequest) (*gestorv1.ListAppsResponse, error) {
	s.running <- struct{}{}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return &gestorv1.ListAppsResponse{}, nil
}

func TestLimits_CallsThatFindNoPlaceAreToldWhenToComeAgain(t *testing.T) {
	slow := &slowApps{running: make(chan struct{}, 100), release: make(chan struct{})}
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Limits = NewLimits(LimitsOptions{})
		d.Limits.reads = limit.NewSlots(limit.SlotsOptions{Running: 2, Waiting: 2, Share: 3, Patience: 100 * time.Millisecond})
		d.Mounts[0] = func(o ...connect.HandlerOption) (string, http.Handler) {
			return gestorv1connect.NewAppServiceHandler(slow, o...)
		}
	})
	for _, caller := range []string{"admin", "viewer", "other"} {
		w.client(t, caller) // made once, not by several goroutines
	}
	var calls sync.WaitGroup
	for _, caller := range []string{"admin", "viewer"} {
		calls.Go(func() {
			if _, code, text := w.ask(t, caller, aRead, nil); code != "" {
				t.Errorf("%s: %s %s", caller, code, text)
			}
		})
	}
	<-slow.running
	<-slow.running
	header, code, text := w.ask(t, "other", aRead, nil)
	if code != "resource_exhausted" || header.Get("Retry-After") == "" || !strings.Contains(text, "nothingDone") {
		t.Errorf("got %s %s", code, text)
	}
	if _, code, _ := w.ask(t, "other", aMutation, nil); code == "resource_exhausted" {
		t.Error("reads took the places of changes")
	}
	close(slow.release)
	calls.Wait()
}

// endless is so many zeros.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), e.left)
	clear(p[:n])
	e.left -= n
	return int(n), nil
}

const gibi = 1 << 30

func TestSizes_AMessageOfOneGiBIsRefusedEarlyAndWithoutMemory(t *testing.T) {
	w := newWall(t, true, time.Now())
	var bomb bytes.Buffer
	packer, err := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(packer, &endless{1 << 20}); err != nil {
		t.Fatal(err)
	}
	if err := packer.Close(); err != nil {
		t.Fatal(err)
	}
	bomb = *bytes.NewBuffer(bytes.Repeat(bomb.Bytes(), gibi>>20)) // packed texts behind each other are one
	watch := gestorv1connect.TaskServiceWatchTaskProcedure
	frame := func(flags byte, size uint32) []byte { return binary.BigEndian.AppendUint32([]byte{flags}, size) }
	for what, c := range map[string]struct {
		procedure, kind string
		body            func() io.Reader
		declared        int64
		more            map[string]string
	}{
		"a call that announces it":        {aRead, "application/proto", func() io.Reader { return &endless{gibi} }, gibi, nil},
		"a call that only sends it":       {aRead, "application/proto", func() io.Reader { return &endless{gibi} }, -1, nil},
		"a packed call":                   {aRead, "application/proto", func() io.Reader { return bytes.NewReader(bomb.Bytes()) }, int64(bomb.Len()), map[string]string{"Content-Encoding": "gzip"}},
		"a stream that sends it":          {watch, "application/connect+proto", func() io.Reader { return io.MultiReader(bytes.NewReader(frame(0, gibi)), &endless{gibi}) }, -1, nil},
		"a stream that only announces it": {watch, "application/connect+proto", func() io.Reader { return bytes.NewReader(frame(0, gibi)) }, -1, nil},
		"a packed message of a stream": {watch, "application/connect+proto", func() io.Reader {
			return io.MultiReader(bytes.NewReader(frame(1, uint32(bomb.Len()))), bytes.NewReader(bomb.Bytes()))
		}, -1, map[string]string{"Connect-Content-Encoding": "gzip"}},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body := c.body()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+c.procedure, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = c.declared
		req.Header.Set("Content-Type", c.kind)
		req.Header.Set("Authorization", "Bearer "+w.tokens["admin"])
		for k, v := range c.more {
			req.Header.Set(k, v)
		}
		_, _, answer := w.do(t, "admin", req)
		answer = unpacked(answer)
		runtime.ReadMemStats(&after)
		if !strings.Contains(answer, "resource_exhausted") && !strings.Contains(answer, "invalid_argument") {
			t.Errorf("%s: got %.300q", what, answer)
		}
		if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 64 {
			t.Errorf("%s: %d MiB were taken", what, taken)
		}
		if e, ok := body.(*endless); ok && e.left < gibi-(64<<20) {
			t.Errorf("%s: %d MiB were read before it was refused", what, (gibi-e.left)>>20)
		}
	}
}

// unpacked is the end of a stream in clear, if it was packed.
func unpacked(answer string) string {
	if !strings.HasPrefix(answer, "\x03") || len(answer) < 5 {
		return answer
	}
	in, err := gzip.NewReader(strings.NewReader(answer[5:]))
	if err != nil {
		return answer
	}
	out, err := io.ReadAll(in)
	if err != nil {
		return answer
	}
	return string(out)
}

func TestSizes_HalfReceivedMessagesOfOnePartyTakeBoundedMemory(t *testing.T) {
	memory := &limit.Counts{Most: 10, MostAll: 15}
	r := &request{reference: "abc"}
	r.charge(memory, "ten_1")
	b := &body{ReadCloser: io.NopCloser(&endless{100}), r: r}
	if n, err := b.Read(make([]byte, 8)); n != 8 || err != nil {
		t.Fatalf("%d %v", n, err)
	}
	if _, err := b.Read(make([]byte, 8)); connect.CodeOf(err) != connect.CodeResourceExhausted {
		t.Fatalf("got %v", err)
	}
	if !memory.Take("ten_2", 7) || memory.Take("ten_2", 1) {
		t.Fatal("what one takes and all take is not counted apart")
	}
	b.settle()
	if memory.Len() != 7 {
		t.Fatalf("%d bytes are still charged", memory.Len())
	}
}

// chattyTasks sends numbered events, each once, from where the watcher left off.
type chattyTasks struct {
	gestorv1connect.UnimplementedTaskServiceHandler
	mu    sync.Mutex
	ended []error // why watches ended
}

const events = 24 // of a megabyte each: more than buffers hold

// WatchTask sends events whose number is the task's id behind the point, behind the one the watcher names likewise.
func (s *chattyTasks) WatchTask(_ context.Context, req *gestorv1.WatchTaskRequest, stream *connect.ServerStream[gestorv1.WatchTaskResponse]) error {
	after := int(req.GetId()[0]) - 'A'
	noise := make([]byte, 512<<10)
	_, _ = rand.Read(noise)
	text := hex.EncodeToString(noise) // can hardly be packed
	err := func() error {
		for n := after; n < events; n++ {
			if err := stream.Send(&gestorv1.WatchTaskResponse{Task: &gestorv1.Task{Id: string(rune('A' + n + 1)), Error: text}}); err != nil {
				return err
			}
		}
		return nil
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, err)
	return err
}

func (s *chattyTasks) endedWith() []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ended)
}

func TestSlowWatchers_AreDroppedAndGoOnWithoutLoss(t *testing.T) {
	tasks, dropped := &chattyTasks{}, make(chan string, 1)
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Times.Write = time.Second
		d.Refused = func(reason string) {
			select {
			case dropped <- reason:
			default:
			}
		}
		for i, mount := range d.Mounts {
			if path, _ := mount(); strings.Contains(path, "TaskService") {
				d.Mounts[i] = func(o ...connect.HandlerOption) (string, http.Handler) {
					return gestorv1connect.NewTaskServiceHandler(tasks, o...)
				}
			}
		}
	})
	c := w.client(t, "viewer")
	client := gestorv1connect.NewTaskServiceClient(c.HTTP, c.URL, c.Options()...)
	seen, drops := []rune{}, 0
	for last := 'A'; len(seen) < events; {
		stream, err := client.WatchTask(t.Context(), &gestorv1.WatchTaskRequest{Id: string(last)})
		if err != nil {
			t.Fatal(err)
		}
		if drops == 0 {
			select { // it does not read
			case reason := <-dropped:
				if drops++; reason != refusedSlow {
					t.Fatalf("refused for %s", reason)
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("a watcher that does not read is not dropped; %v", tasks.endedWith())
			}
		}
		for stream.Receive() {
			last = []rune(stream.Msg().GetTask().GetId())[0]
			seen = append(seen, last)
		}
		_ = stream.Close()
	}
	for i, r := range seen {
		if r != rune('A'+i+1) {
			t.Fatalf("event %d is number %d", i+1, r-'A')
		}
	}
	if drops != 1 || len(seen) != events {
		t.Fatalf("%d drops, %d events", drops, len(seen))
	}
}

func TestStreams_OfOneSignInAreBounded(t *testing.T) {
	tasks := &waitingTasks{began: make(chan struct{}, 10)}
	w := newWallOf(t, true, time.Now(), func(d *Deps) {
		d.Limits = NewLimits(LimitsOptions{StreamsPerSession: 2})
		for i, mount := range d.Mounts {
			if path, _ := mount(); strings.Contains(path, "TaskService") {
				d.Mounts[i] = func(o ...connect.HandlerOption) (string, http.Handler) {
					return gestorv1connect.NewTaskServiceHandler(tasks, o...)
				}
			}
		}
	})
	watch := func(caller string) error {
		c := w.client(t, caller)
		stream, err := gestorv1connect.NewTaskServiceClient(c.HTTP, c.URL, c.Options()...).WatchTask(t.Context(), &gestorv1.WatchTaskRequest{Id: "t"})
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = stream.Close() })
		stream.Receive()
		return stream.Err()
	}
	for range 2 {
		if err := watch("viewer"); err != nil {
			t.Fatal(err)
		}
	}
	if err := watch("viewer"); err == nil || !strings.Contains(err.Error(), "the most is 2") {
		t.Fatalf("a third stream: %v", err)
	}
	if err := watch("admin"); err != nil {
		t.Fatalf("another sign-in: %v", err)
	}
}

// waitingTasks sends one event and waits for the end.
type waitingTasks struct {
	gestorv1connect.UnimplementedTaskServiceHandler
	began chan struct{}
}

func (s *waitingTasks) WatchTask(ctx context.Context, _ *gestorv1.WatchTaskRequest, stream *connect.ServerStream[gestorv1.WatchTaskResponse]) error {
	if err := stream.Send(&gestorv1.WatchTaskResponse{Task: &gestorv1.Task{Id: "x"}}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}
