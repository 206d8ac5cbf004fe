package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// bucket keeps backups in S3.
type bucket struct {
	client       *minio.Client
	name, prefix string
}

// partBytes is the size of the pieces of an upload, one of which is in memory; 10,000 of them bound a backup to 156 GiB.
const partBytes = 16 << 20

func openS3(p Place) (*bucket, error) {
	name, prefix, err := splitS3(p.To)
	if err != nil {
		return nil, err
	}
	endpoint, err := url.Parse(p.Endpoint)
	if err != nil || endpoint.Host == "" {
		return nil, fmt.Errorf("backup: endpoint %q is no https://host", p.Endpoint)
	}
	if err := checkCredentials(p.Credentials); err != nil {
		return nil, err
	}
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds: credentials.NewFileAWSCredentials(p.Credentials, "default"), Secure: endpoint.Scheme == "https", Region: p.Region,
	})
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return &bucket{client: client, name: name, prefix: prefix}, nil
}

// splitS3 takes s3://bucket/some/prefix apart.
func splitS3(raw string) (bucket, key string, err error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return "", "", fmt.Errorf("backup: %q is not s3://bucket/prefix", raw)
	}
	return u.Host, strings.Trim(u.Path, "/"), nil
}

// checkCredentials finds out whether the file can be used and is private. It reads none of it.
func checkCredentials(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return fmt.Errorf("backup: credentials: %w", err)
	}
	if wide := info.Mode().Perm() & 0o077; wide != 0 {
		return fmt.Errorf("backup: credentials %s may be read by others (mode %04o); run: chmod 600 %s", file, info.Mode().Perm(), file)
	}
	return nil
}

func (b *bucket) String() string { return "s3://" + path.Join(b.name, b.prefix) }

func (b *bucket) key(name string) string { return path.Join(b.prefix, name) }

// Put uploads in parts. S3 makes the object of them at the end, and not before.
func (b *bucket) Put(ctx context.Context, name string, write func(w io.Writer) error) error {
	r, w := io.Pipe()
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		w.CloseWithError(write(w))
	}()
	_, err := b.client.PutObject(ctx, b.name, b.key(name), r, -1, minio.PutObjectOptions{PartSize: partBytes, ContentType: "application/octet-stream"})
	_ = r.CloseWithError(errors.New("the upload ended")) // so that the writer does, too
	<-wrote
	if err != nil {
		return fmt.Errorf("upload to %s: %w", b, err)
	}
	return nil
}

func (b *bucket) Names(ctx context.Context) ([]string, error) {
	prefix := b.prefix
	if prefix != "" {
		prefix += "/"
	}
	var names []string
	for o := range b.client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return nil, fmt.Errorf("list %s: %w", b, o.Err)
		}
		names = append(names, strings.TrimPrefix(o.Key, prefix))
	}
	return names, nil
}

func (b *bucket) Delete(ctx context.Context, name string) error {
	if err := b.client.RemoveObject(ctx, b.name, b.key(name), minio.RemoveObjectOptions{}); err != nil {
		return fmt.Errorf("delete %s from %s: %w", name, b, err)
	}
	return nil
}

// Fetch brings what p.To names to a local path: a file is where it is, an object of S3 is copied into dir.
func Fetch(ctx context.Context, p Place, dir string) (string, error) {
	if !strings.HasPrefix(p.To, "s3://") {
		return p.To, nil
	}
	b, err := openS3(p)
	if err != nil {
		return "", err
	}
	local := path.Join(dir, "fetched"+nameSuffix)
	if err := b.client.FGetObject(ctx, b.name, b.prefix, local, minio.GetObjectOptions{}); err != nil {
		return "", fmt.Errorf("download %s: %w", p.To, err)
	}
	return local, nil
}
