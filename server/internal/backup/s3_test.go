package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
)

// versitygw is the S3 server of the tests; scripts/tools.sh has the same version.
const versitygw = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"

// gateway is the path of the S3 server, which is built when .bin does not have it.
func gateway(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, ".bin", "versitygw")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.CommandContext(t.Context(), "go", "install", versitygw)
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Dir(path), "GOWORK=off")
	cmd.Dir = t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the S3 server: %v\n%s", err, out)
	}
	return path
}

// s3 is a real S3 server on this machine with a bucket in it.
func s3(t *testing.T) Place {
	t.Helper()
	dir := t.TempDir()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listen.Addr().String()
	if err := listen.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), gateway(t), "--port", address, "--quiet", "posix", filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=tester", "ROOT_SECRET_KEY=tester-secret")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	credentials := filepath.Join(dir, "credentials")
	save(t, credentials, []byte("[default]\naws_access_key_id = tester\naws_secret_access_key = tester-secret\n"))
	place := Place{To: "s3://backups/some/prefix", Endpoint: "http://" + address, Region: "us-east-1", Credentials: credentials}
	makeBucket(t, place)
	return place
}

func makeBucket(t *testing.T, p Place) {
	t.Helper()
	b, err := openS3(p)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for { // until it listens
		err := b.client.MakeBucket(ctx, b.name, minio.MakeBucketOptions{Region: p.Region})
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func TestS3_KeepsBackupsLikeADirectory(t *testing.T) {
	place := s3(t)
	target, err := Open(place)
	if err != nil {
		t.Fatal(err)
	}
	conform(t, target)
	elsewhere := place
	elsewhere.To = "s3://backups/some"
	other, err := Open(elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Put(t.Context(), "aside", func(io.Writer) error { return nil }); err != nil {
		t.Error(err)
	}
	if names, err := target.Names(t.Context()); err != nil || len(names) != 1 {
		t.Errorf("another prefix shows: %v, %v", names, err)
	}
}

func TestS3_BringsALargeBackupBackWhole(t *testing.T) {
	place := s3(t)
	target, err := Open(place)
	if err != nil {
		t.Fatal(err)
	}
	state := strings.Repeat("0123456789abcdef", 40<<16) // 40 MiB: three parts
	name := Name("clu_1", time.Now())
	if err := target.Put(t.Context(), name, func(w io.Writer) error { return To(t.Context(), &source{state: state}, w) }); err != nil {
		t.Fatal(err)
	}
	from := place
	from.To += "/" + name
	path, err := Fetch(t.Context(), from, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	body, err := Body(path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil || string(got) != state {
		t.Errorf("got %d bytes of %d, %v", len(got), len(state), err)
	}
	from.To += "x"
	if _, err := Fetch(t.Context(), from, t.TempDir()); err == nil {
		t.Error("an object that is not there was fetched")
	}
}

func TestS3_NeverTellsTheSecret(t *testing.T) {
	place := s3(t)
	save(t, place.Credentials, []byte("[default]\naws_access_key_id = tester\naws_secret_access_key = wrong-secret-value\n"))
	target, err := Open(place)
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Names(t.Context())
	putErr := target.Put(t.Context(), "x", func(io.Writer) error { return nil })
	for _, err := range []error{err, putErr} {
		if err == nil || strings.Contains(err.Error(), "wrong-secret-value") || strings.Contains(fmt.Sprintf("%+v", target), "wrong-secret-value") {
			t.Errorf("got %v", err)
		}
	}
}
