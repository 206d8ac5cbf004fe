package fsm

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/saas-gestor/gestor/proto/fault"
	raftv1 "github.com/saas-gestor/gestor/proto/gen/gestor/raft/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// snapshotFormat is the form of snapshots this server writes and the newest it reads.
const snapshotFormat = 1

// Snapshot is the state of one moment, not yet written.
type Snapshot struct {
	store  *state.Store
	pin    *state.Pin
	header *raftv1.SnapshotHeader
}

// Snapshot holds the state of now. It is quick, and may be called from anywhere; Write does the work, while Apply goes
// on. The caller calls Release.
func (f *FSM) Snapshot() (*Snapshot, error) {
	ctx := context.Background() // as for Apply
	pin, err := f.store.Pin(ctx)
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	h, err := f.header(ctx, pin)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("snapshot: %w", err), pin.Close())
	}
	return &Snapshot{store: f.store, pin: pin, header: h}, nil
}

// header is that of the pinned state, but for what is known only of its image.
func (f *FSM) header(ctx context.Context, pin *state.Pin) (*raftv1.SnapshotHeader, error) {
	index, err := pin.Applied(ctx)
	if err != nil {
		return nil, err
	}
	level, err := pin.Level(ctx)
	if err != nil {
		return nil, err
	}
	id, err := clusterID(ctx, pin.View(gestor.SystemScope()))
	if err != nil {
		return nil, err
	}
	return &raftv1.SnapshotHeader{
		Format: snapshotFormat, Index: index, ClusterId: string(id), Version: f.version, Level: level, At: timestamppb.Now(),
	}, nil
}

// clusterID is empty before the first start is done.
func clusterID(ctx context.Context, v *state.View) (gestor.ClusterID, error) {
	c, err := v.Cluster(ctx)
	if errors.Is(err, fault.KindNotFound) {
		return "", nil
	}
	return c.ID, err
}

// Header is what the snapshot says of itself.
func (s *Snapshot) Header() *raftv1.SnapshotHeader { return s.header }

// Release lets the state go.
func (s *Snapshot) Release() error { return s.pin.Close() }

// Write writes the snapshot: the header, then the image, read back and found whole before its first byte goes out.
func (s *Snapshot) Write(w io.Writer) error {
	path, err := s.store.Temp()
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	defer func() { _ = os.Remove(path) }() // a new start removes what is left
	if err := s.write(w, path); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func (s *Snapshot) write(w io.Writer, path string) error {
	if err := s.pin.Copy(path); err != nil {
		return err
	}
	if err := state.CheckImage(context.Background(), path); err != nil {
		return err
	}
	image, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = image.Close() }() // it was only read
	sum := sha256.New()
	if s.header.ImageBytes, err = io.Copy(sum, image); err != nil {
		return err
	}
	s.header.ImageSha256 = sum.Sum(nil)
	if _, err := image.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if _, err := protodelim.MarshalTo(w, s.header); err != nil {
		return err
	}
	return compress(w, image)
}

func compress(w io.Writer, image io.Reader) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	_, err = io.Copy(z, image)
	return errors.Join(err, z.Close())
}

// Restore replaces the state by a snapshot, or leaves it as it is and says what is wrong with the snapshot.
func (f *FSM) Restore(r io.Reader) error {
	path, err := f.store.Temp()
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	defer func() { _ = os.Remove(path) }() // a new start removes what is left
	ctx := context.Background()            // as for Apply
	h, err := f.readImage(ctx, r, path)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	if err := f.store.Restore(ctx, path); err != nil {
		return fmt.Errorf("restore snapshot of index %d: %w", h.GetIndex(), err)
	}
	return nil
}

func (f *FSM) readImage(ctx context.Context, r io.Reader, path string) (*raftv1.SnapshotHeader, error) {
	in := bufio.NewReader(r)
	h := &raftv1.SnapshotHeader{}
	if err := protodelim.UnmarshalFrom(in, h); err != nil {
		return nil, fmt.Errorf("its header cannot be read: %w", err)
	}
	if err := checkHeader(h); err != nil {
		return nil, err
	}
	id, err := clusterID(ctx, f.store.View(gestor.SystemScope()))
	if err != nil {
		return nil, err
	}
	if id != "" && string(id) != h.GetClusterId() {
		return nil, fault.Conflict("it is of cluster %s, this server belongs to %s", h.GetClusterId(), id).
			WithFix("keep the data of different installations apart")
	}
	return h, unpackImage(in, h, path)
}

// checkHeader refuses what this program cannot read.
func checkHeader(h *raftv1.SnapshotHeader) error {
	if h.GetFormat() == 0 || h.GetFormat() > snapshotFormat {
		return newer(h, "format %d; this server reads up to format %d", h.GetFormat(), snapshotFormat)
	}
	if h.GetLevel() > state.NewestLevel() {
		return newer(h, "level %d; this server understands up to level %d", h.GetLevel(), state.NewestLevel())
	}
	return nil
}

func newer(h *raftv1.SnapshotHeader, format string, args ...any) error {
	return fault.Conflict("gestor-server %s wrote it with "+format, append([]any{h.GetVersion()}, args...)...).
		WithFix("install that version of gestor-server, or a later one")
}

func unpackImage(in io.Reader, h *raftv1.SnapshotHeader, path string) error {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	sum := sha256.New()
	n, err := fill(path, io.LimitReader(z, h.GetImageBytes()+1), sum)
	if err != nil {
		return fmt.Errorf("its image cannot be read: %w", err)
	}
	if n != h.GetImageBytes() || string(sum.Sum(nil)) != string(h.GetImageSha256()) {
		return fmt.Errorf("its image is damaged: %d of %d bytes, or another checksum", n, h.GetImageBytes())
	}
	return nil
}

func fill(path string, from io.Reader, sum hash.Hash) (int64, error) {
	out, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(io.MultiWriter(out, sum), from)
	return n, errors.Join(err, out.Close())
}
