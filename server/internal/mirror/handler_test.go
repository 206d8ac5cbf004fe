package mirror_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"github.com/saas-gestor/gestor/proto/fault"
	peerv1 "github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/peer/v1/peerv1connect"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// storage is how server 1 calls server 2.
func (c *servers) storage(t *testing.T) peerv1connect.StorageServiceClient {
	t.Helper()
	client, err := c.all[0].port.Client("srv_2")
	if err != nil {
		t.Fatal(err)
	}
	return peerv1connect.NewStorageServiceClient(client.HTTP, client.URL, client.Options...)
}

func TestService_RefusesWhatMakesNoSense(t *testing.T) {
	c := newServers(t, 2, 2)
	s := c.storage(t)
	line := func(seq uint64) *gestorv1.LogLine { return &gestorv1.LogLine{Seq: seq, Text: "x"} }
	const first = 1<<40 + 1
	calls := map[string]func(context.Context) error{
		"a log id that is a path": func(ctx context.Context) error {
			_, err := s.AppendLog(ctx, &peerv1.AppendLogRequest{LogId: "../../etc", Source: source, Lines: []*gestorv1.LogLine{line(first)}})
			return err
		},
		"no source": func(ctx context.Context) error {
			_, err := s.AppendLog(ctx, &peerv1.AppendLogRequest{LogId: "tsk_one", Lines: []*gestorv1.LogLine{line(first)}})
			return err
		},
		"a source of 300 bytes": func(ctx context.Context) error {
			_, err := s.AppendLog(ctx, &peerv1.AppendLogRequest{LogId: "tsk_one", Source: strings.Repeat("x", 300), Lines: []*gestorv1.LogLine{line(1)}})
			return err
		},
		"lines of another attempt": func(ctx context.Context) error {
			_, err := s.AppendLog(ctx, &peerv1.AppendLogRequest{LogId: "tsk_one", Source: source, Lines: []*gestorv1.LogLine{line(2<<40 + 1)}})
			return err
		},
		"lines out of order": func(ctx context.Context) error {
			_, err := s.AppendLog(ctx, &peerv1.AppendLogRequest{LogId: "tsk_one", Source: source, Lines: []*gestorv1.LogLine{line(first + 1), line(first)}})
			return err
		},
		"too many logs": func(ctx context.Context) error {
			_, err := s.GetLogState(ctx, &peerv1.GetLogStateRequest{LogIds: make([]string, 1001)})
			return err
		},
		"a digest that is a path": func(ctx context.Context) error {
			_, err := s.HasBlobs(ctx, &peerv1.HasBlobsRequest{Digests: []string{"../../etc/passwd"}})
			return err
		},
		"an artifact with other bytes": func(ctx context.Context) error {
			stream, err := s.PutBlob(ctx)
			if err != nil {
				return err
			}
			_, digest := artifact(4, 'x')
			_ = stream.Send(&peerv1.PutBlobRequest{Digest: digest, Size: 4}) // the answer says what is wrong
			_ = stream.Send(&peerv1.PutBlobRequest{Data: []byte("none")})
			_, err = stream.CloseAndReceive()
			return err
		},
		"an offset behind the end": func(ctx context.Context) error {
			data, digest := artifact(4, 'y')
			if err := c.all[1].put(data, digest); err != nil {
				return err
			}
			stream, err := s.GetBlob(ctx, &peerv1.GetBlobRequest{Digest: digest, Offset: 5})
			if err != nil {
				return err
			}
			defer stream.Close()
			stream.Receive()
			return stream.Err()
		},
	}
	for name, call := range calls {
		if err := call(t.Context()); !errors.Is(err, fault.KindInvalid) {
			t.Errorf("%s: err = %v (%v)", name, err, connect.CodeOf(err))
		}
	}
	if got := c.all[1].local("tsk_one"); got != "" {
		t.Errorf("stored %q", got)
	}
}

func TestService_StoresNothingBehindAHole(t *testing.T) {
	c := newServers(t, 2, 2)
	req := &peerv1.AppendLogRequest{
		LogId: "tsk_one", Source: source, After: 5, Lines: []*gestorv1.LogLine{{Seq: 1<<40 + 6, Text: "6"}},
	}
	answer, err := c.storage(t).AppendLog(t.Context(), req)
	if err != nil || answer.GetAcked() != 0 {
		t.Fatalf("acked %d, %v", answer.GetAcked(), err)
	}
	if got := c.all[1].local("tsk_one"); got != "" {
		t.Fatalf("stored %q", got)
	}
}
