// Package backup writes the state of an installation into files and keeps the last of them in a directory or an S3
// bucket. A backup is of one moment, holds everything Raft replicates, and no key: who restores it needs the key ring as
// well. Task logs and artifacts are not part of it.
//
// A backup that has its name is whole: it gets it last, by a rename or by the completion of an upload.
package backup

import (
	"context"
	"io"
	"strings"
	"time"
)

// Engine is where the state comes from.
type Engine interface {
	// Barrier returns once this server has applied everything that was committed before.
	Barrier(ctx context.Context) error
	// WriteSnapshot writes the state of now.
	WriteSnapshot(w io.Writer) error
}

// To writes a backup of everything that was committed before the call.
func To(ctx context.Context, e Engine, w io.Writer) error {
	if err := e.Barrier(ctx); err != nil {
		return err
	}
	return Write(w, func(w io.Writer) error { return e.WriteSnapshot(stopper{ctx, w}) })
}

// stopper ends a copy when its caller is gone.
type stopper struct {
	ctx context.Context
	w   io.Writer
}

func (s stopper) Write(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	return s.w.Write(p)
}

// Names of backups sort by their time.
const (
	namePrefix = "gestor-"
	nameSuffix = ".backup"
	nameTime   = "20060102T150405Z"
)

// Name is what a backup of a cluster is called.
func Name(cluster string, at time.Time) string {
	return namePrefix + cluster + "-" + at.UTC().Format(nameTime) + nameSuffix
}

// timeOf is when the backup of a cluster with that name was made; false for any other name.
func timeOf(cluster, name string) (time.Time, bool) {
	rest, ok := strings.CutPrefix(name, namePrefix+cluster+"-")
	if !ok {
		return time.Time{}, false
	}
	at, err := time.Parse(nameTime+nameSuffix, rest)
	return at, err == nil
}
