package logs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func collect(secrets ...string) (*stream, *[]string) {
	var lines []string
	return newStream(NewPatterns(secrets), knownShapes(), func(s string) { lines = append(lines, s) }), &lines
}

func TestRedactor_HidesEveryFormHoweverItIsSplit(t *testing.T) {
	secret := `p"ss/w<rd+&é!`
	texts := []string{secret, url.QueryEscape(secret), `p\"ss/w<rd+&é!`, "multi-line-1\nmulti-line-2"}
	for shift := range 3 {
		texts = append(texts, base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift)+secret+"yy")))
	}
	for _, text := range texts {
		input := "before " + text + " after\n"
		for at := range len(input) {
			s, lines := collect(secret, "multi-line-1\nmulti-line-2")
			_, _ = s.Write([]byte(input[:at]))
			_, _ = s.Write([]byte(input[at:]))
			s.flush()
			got := strings.Join(*lines, "\n")
			if !strings.HasPrefix(got, "before ") || !strings.HasSuffix(got, " after") || !strings.Contains(got, mask) {
				t.Fatalf("%q split at %d became %q", text, at, got)
			}
			if strings.Contains(got, text) || strings.Contains(got, "multi-line") {
				t.Fatalf("%q split at %d leaked: %q", text, at, got)
			}
		}
	}
}

func FuzzRedactor(f *testing.F) {
	f.Add("hunter2", "say hunter2 and hunter", 5)
	f.Add("aaaaaaab", "aaaaaaaaaaaaaab", 3)
	f.Fuzz(func(t *testing.T, secret, text string, at int) {
		if len(secret) < minSecret || everyday(secret) || strings.Contains(mask, secret) {
			return
		}
		at = min(max(at, 0), len(text))
		r := NewRedactor(NewPatterns([]string{secret}))
		out := r.Redact(nil, []byte(text[:at]))
		out = r.Redact(out, []byte(text[at:]))
		out = r.Flush(out)
		for part := range bytes.SplitSeq(out, []byte(mask)) {
			if bytes.Contains(part, []byte(secret)) {
				t.Errorf("%q leaks %q", out, secret)
			}
		}
		if whole := RedactText(text, []string{secret}); whole != string(out) {
			t.Errorf("split at %d gives %q, whole gives %q", at, out, whole)
		}
	})
}

func TestStream_CleansCutsAndHidesShapes(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jplain\a\x00\n", "\x1b[31mred\x1b[0m plain"},
		{"a\xffb\xe2\x82\n", "a\uFFFDb\uFFFD"},
		{"10%\r20%\r\n", "20%"},
		{"git clone https://bob:pa55@host/x\n", "git clone https://[redacted]@host/x"},
		{"token ghp_0123456789abcdefghijABCDEFGHIJ\n", "token [redacted]"},
		{"-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----\nx\n", "[redacted private key]|x"},
		{"\n", ""},
		{"no end", "no end"},
	} {
		s, lines := collect()
		for i := range len(c.in) {
			_, _ = s.Write([]byte(c.in[i : i+1]))
		}
		s.flush()
		if got := strings.Join(*lines, "|"); got != c.want || len(*lines) == 0 {
			t.Errorf("%q became %q, want %q", c.in, got, c.want)
		}
	}
}

func TestStream_CutsAHugeLineInConstantMemory(t *testing.T) {
	s, lines := collect("some-secret")
	block := bytes.Repeat([]byte("x"), 1<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const total = 64 << 20
	for range total >> 20 {
		_, _ = s.Write(block)
	}
	_, _ = s.Write([]byte("\n"))
	runtime.ReadMemStats(&after)
	if got := (*lines)[0]; len(got) > maxLine || !strings.HasSuffix(got, fmt.Sprintf("[cut: %d bytes left out]", total-(maxLine-64))) {
		t.Errorf("the line has %d bytes and ends in %q", len(got), got[len(got)-60:])
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}

func openStore(t testing.TB, dir string, maxBytes int64) *Store {
	t.Helper()
	s, err := OpenStore(Options{Dir: dir, MaxBytes: maxBytes, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// drain takes everything there is to send of a log.
func drain(s *Store, id string) (all []*agentv1.PushLogsRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spools[id].rewind()
	for m := s.spools[id].next(); m != nil; m = s.spools[id].next() {
		all = append(all, m)
	}
	return all
}

func TestStore_DropsTheOldestAndMarksTheGap(t *testing.T) {
	s := openStore(t, t.TempDir(), 1<<20)
	l, err := s.Open("tsk_1", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	const total = 30000
	for i := range total {
		l.Logf("line %d %s", i+1, strings.Repeat("x", 80))
	}
	l.Close()
	if s.total > 1<<20 {
		t.Errorf("the spool has %d bytes", s.total)
	}
	messages := drain(s, "tsk_1")
	first, last := messages[0].GetLines()[0], messages[len(messages)-1]
	if want := fmt.Sprintf(ownWarning, first.GetSeq()); first.GetText() != want || first.GetSeq() < 1000 {
		t.Errorf("begins with %d %q, want %q", first.GetSeq(), first.GetText(), want)
	}
	if lastSeq(last) != total || !last.GetEof() {
		t.Errorf("ends with %d, eof %v", lastSeq(last), last.GetEof())
	}
}

func TestStore_GoesOnWithALogAfterRestart(t *testing.T) {
	dir := t.TempDir()
	l, err := openStore(t, dir, 0).Open("tsk_1", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Logf("one")
	l.Leave()
	s := openStore(t, dir, 0)
	if l, err = s.Open("tsk_1", 1, nil); err != nil {
		t.Fatal(err)
	}
	l.Logf("two")
	l.Close()
	var texts []string
	for _, m := range drain(s, "tsk_1") {
		for _, line := range m.GetLines() {
			texts = append(texts, fmt.Sprint(line.GetSeq(), line.GetText()))
		}
	}
	if strings.Join(texts, " ") != "1one 2two" {
		t.Errorf("spooled %v", texts)
	}
}

func BenchmarkLog(b *testing.B) {
	s := openStore(b, b.TempDir(), 64<<20)
	l, err := s.Open("tsk_1", 1, []string{"some-secret-value", "another-secret", "and-a-third-one"})
	if err != nil {
		b.Fatal(err)
	}
	line := []byte(strings.Repeat("some words of a build log ", 4) + "\n")
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		_, _ = l.Stdout().Write(line)
	}
	l.Close()
}

func TestStore_KeepsApartWhichAttemptLinesAreFrom(t *testing.T) {
	dir := t.TempDir()
	first, err := openStore(t, dir, 0).Open("tsk_1", 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	first.Logf("one")
	first.Leave() // a crash; the task is lost and assigned again
	s := openStore(t, dir, 0)
	second, err := s.Open("tsk_1", 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	second.Logf("two")
	second.Close()
	check := func(s *Store, want string) {
		t.Helper()
		var got strings.Builder
		for _, m := range drain(s, "tsk_1") {
			_, _ = fmt.Fprintf(&got, "%d:%d:%v ", m.GetAttempt(), len(m.GetLines()), m.GetEof())
		}
		if got.String() != want {
			t.Errorf("sent are %q, want %q", got.String(), want)
		}
	}
	check(s, "1:1:false 2:1:true ")
	check(openStore(t, dir, 0), "1:1:false 2:1:true ")
	s = openStore(t, dir, 0)
	s.spools["tsk_1"].acked = s.spools["tsk_1"].last // only the end is left to tell
	check(s, "2:0:true ")
}
