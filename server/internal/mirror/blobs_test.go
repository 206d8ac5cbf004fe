package mirror_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"sync"
	"syscall"
	"testing"

	"github.com/saas-gestor/gestor/proto/fault"
)

// artifact makes size bytes and their digest.
func artifact(size int, fill byte) ([]byte, string) {
	data := bytes.Repeat([]byte{fill}, size)
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

func (s *server) put(data []byte, digest string) error {
	return s.Put(s.c.t.Context(), digest, int64(len(data)), bytes.NewReader(data))
}

// has reports whether a server has an artifact on its own disk.
func (s *server) has(digest string) bool {
	_, err := s.blobs.Stat(digest)
	return err == nil
}

func TestPut_BringsAnArtifactToAllServers(t *testing.T) {
	c := newServers(t, 4, 3)
	data, digest := artifact(3<<20+17, 'a')
	if err := c.all[1].put(data, digest); err != nil {
		t.Fatal(err)
	}
	for _, s := range c.all {
		eventually(t, s.id+" to have the artifact", func() bool { return s.has(digest) })
		r, err := s.Get(digest, 3<<20)
		if err != nil {
			t.Fatal(err)
		}
		if rest, err := io.ReadAll(r); err != nil || !bytes.Equal(rest, data[3<<20:]) {
			t.Errorf("%s: %d bytes, %v", s.id, len(rest), err)
		}
		_ = r.Close()
	}
}

func TestPut_WithOneServerDownIsThereAfterItIsBack(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[2].kill()
	data, digest := artifact(1<<20, 'b')
	if err := c.all[0].put(data, digest); err != nil {
		t.Fatal(err)
	}
	if !c.all[1].has(digest) {
		t.Error("acknowledged without a majority")
	}
	c.wanted.addArtifact(digest)
	c.all[2].restart()
	eventually(t, "the artifact", func() bool { return c.all[2].has(digest) })
}

func TestPut_IsRefusedWithoutAMajority(t *testing.T) {
	c := newServers(t, 3, 3)
	c.all[1].kill()
	c.all[2].kill()
	data, digest := artifact(1000, 'c')
	if err := c.all[0].put(data, digest); !errors.Is(err, fault.KindUnavailable) {
		t.Fatalf("err = %v", err)
	}
	c.all[1].restart()
	if err := c.all[0].put(data, digest); err != nil { // as the agent tries again
		t.Fatal(err)
	}
	if !c.all[1].has(digest) {
		t.Error("acknowledged without a majority")
	}
}

// A full disk is a tmpfs of 256 KiB.
func TestPut_AFullDiskOnOneServerDoesNotFailIt(t *testing.T) {
	c := newServers(t, 3, 3)
	small := t.TempDir()
	if err := syscall.Mount("tmpfs", small, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a small file system (this test needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(small, syscall.MNT_DETACH) })
	c.all[1].kill()
	c.all[1].openBlobs(small)
	c.all[1].restart()
	data, digest := artifact(1<<20, 'd')
	if err := c.all[0].put(data, digest); err != nil {
		t.Fatal(err)
	}
	if c.all[1].has(digest) || !c.all[2].has(digest) {
		t.Errorf("full: %v, other: %v", c.all[1].has(digest), c.all[2].has(digest))
	}
	r, err := c.all[2].Get(digest, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
}

func TestGet_FetchesWhatOnlyAnotherServerHas(t *testing.T) {
	c := newServers(t, 3, 3)
	data, digest := artifact(2<<20, 'e')
	if err := c.all[0].blobs.Put(t.Context(), digest, int64(len(data)), bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if info, err := c.all[1].Stat(digest); err != nil || info.Digest != digest {
		t.Errorf("stat = %+v, %v", info, err)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			r, err := c.all[1].Get(digest, 1)
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = r.Close() }()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, data[1:]) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
	readers.Wait()
}

func TestStat_TellsWhatIsNowhereFromWhatCannotBeKnown(t *testing.T) {
	c := newServers(t, 3, 3)
	_, digest := artifact(10, 'f')
	eventually(t, "the server to ask the others", func() bool {
		_, err := c.all[0].Stat(digest)
		return errors.Is(err, fault.KindNotFound)
	})
	if _, err := c.all[0].Get(digest, 0); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("err = %v, want that it is not found", err)
	}
	if _, err := c.all[0].Stat("nonsense"); !errors.Is(err, fault.KindInvalid) {
		t.Errorf("err = %v, want that it is invalid", err)
	}
	c.all[1].kill()
	c.all[2].kill()
	if _, err := c.all[0].Stat(digest); !errors.Is(err, fault.KindUnavailable) {
		t.Errorf("err = %v, want that it cannot be known", err)
	}
}

func TestOpen_OfAServerThatIsAloneNeedsNobody(t *testing.T) {
	c := newServers(t, 1, 1)
	data, digest := artifact(1000, 'g')
	if err := c.all[0].put(data, digest); err != nil {
		t.Fatal(err)
	}
	c.all[0].push("tsk_one", source, 1, 10, true)
	if got := c.all[0].read("tsk_one"); got != count(1, 10) {
		t.Errorf("log = %q", got)
	}
	_, nowhere := artifact(1000, 'h')
	if _, err := c.all[0].Get(nowhere, 0); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("err = %v", err)
	}
}
