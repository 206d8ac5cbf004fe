package peer_test

import (
	"encoding/binary"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
)

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

func TestPort_RefusesAMessageOfOneGiBEarlyAndWithoutMemory(t *testing.T) {
	const gibi = 1 << 30
	i := newInstallation(t, "clu_1")
	a, b := i.open(t, "srv_a"), i.open(t, "srv_b")
	i.bind(a, b)
	serve(t, b)
	c, err := a.Client("srv_b")
	if err != nil {
		t.Fatal(err)
	}
	for what, declared := range map[string]int64{"announced": gibi, "only sent": -1} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		body := &endless{gibi}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+peerv1connect.ReplicationServiceProposeProcedure, body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = declared
		req.Header.Set("Content-Type", "application/proto")
		res, err := c.HTTP.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		answer, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		runtime.ReadMemStats(&after)
		if !strings.Contains(string(answer), "resource_exhausted") {
			t.Errorf("%s: got %d %.200q", what, res.StatusCode, answer)
		}
		if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 64 {
			t.Errorf("%s: %d MiB were taken", what, taken)
		}
		if read := gibi - body.left; read > 64<<20 {
			t.Errorf("%s: %d MiB were read before it was refused", what, read>>20)
		}
	}
	stream := io.MultiReader(strings.NewReader(string(binary.BigEndian.AppendUint32([]byte{0}, gibi))), &endless{gibi})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+peerv1connect.ReplicationServiceProposeProcedure, stream)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/connect+proto")
	if res, err := c.HTTP.Do(req); err == nil {
		_ = res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("a stream where there is none was served")
		}
	}
	if got, err := call(t, a, "srv_b"); err != nil {
		t.Fatalf("the next call: %q, %v", got, err)
	}
}
