package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Target keeps backups.
type Target interface {
	// Put stores what write writes, under a name that it has once it is whole.
	Put(ctx context.Context, name string, write func(w io.Writer) error) error
	// Names are what is stored, in no order.
	Names(ctx context.Context) ([]string, error)
	// Delete removes a backup; one that is not there is fine.
	Delete(ctx context.Context, name string) error
	// String is where it is, without secrets.
	String() string
}

// Place is where backups are kept.
type Place struct {
	To          string // an absolute directory, or s3://bucket/prefix
	Endpoint    string // of S3, https://…
	Region      string
	Credentials string // path of a file in the form of ~/.aws/credentials
}

// Open opens a place. It connects to nothing.
func Open(p Place) (Target, error) {
	if strings.HasPrefix(p.To, "s3://") {
		return openS3(p)
	}
	if !filepath.IsAbs(p.To) {
		return nil, fmt.Errorf("backup: %q is neither an absolute directory nor s3://bucket/prefix", p.To)
	}
	return directory(p.To), nil
}

// directory keeps backups as files that only their owner may read.
type directory string

func (d directory) String() string { return string(d) }

// partSuffix marks files that are being written; one that a crash left is replaced or stays, and is never a backup. It is
// always made anew: what others put there, in a directory they share, is neither followed nor written to.
const partSuffix = ".part"

func (d directory) Put(_ context.Context, name string, write func(w io.Writer) error) error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return err
	}
	path := filepath.Join(string(d), name)
	if err := os.Remove(path + partSuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path+partSuffix, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(path + partSuffix) }() // gone after the rename
	if err := errors.Join(write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+partSuffix, path); err != nil {
		return err
	}
	parent, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

func (d directory) Names(context.Context) ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

func (d directory) Delete(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(string(d), name)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
