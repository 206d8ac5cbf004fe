package audit

import (
	"bufio"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/state"
)

// Engine is what archives need of replication and state.
type Engine interface {
	Proposer
	View(s gestor.Scope) *state.View
	Barrier(ctx context.Context) error
}

// Blobs keep archives.
type Blobs interface {
	// Put stores the size bytes of r, which have the digest, on a majority of the servers.
	Put(ctx context.Context, digest string, size int64, r io.Reader) error
	// Get opens what has the digest, here or from another server.
	Get(digest string, offset int64) (io.ReadCloser, error)
}

// ArchiveOptions are what an Archive is made of. Zero times mean the defaults.
type ArchiveOptions struct {
	Engine Engine
	Blobs  Blobs
	Years  int    // how many years stay in the state besides the one that goes on; 5
	Dir    string // for files on their way; empty for the system's
	Now    func() time.Time
	Doubt  func() string // why Now may be wrong; empty if there is no reason; may be nil
	Every  time.Duration // between looks; 1 h
	Log    *slog.Logger  // nil discards
}

// Archive takes years out of the state that are old enough: into an artifact that a majority of the servers keeps for ever, and
// only then out of the state. It may be stopped anywhere and goes on where it was.
type Archive struct{ o ArchiveOptions }

// NewArchive makes an Archive.
func NewArchive(o ArchiveOptions) *Archive {
	o.Every, o.Years = cmp.Or(o.Every, time.Hour), max(cmp.Or(o.Years, 5), 1)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Doubt == nil {
		o.Doubt = func() string { return "" }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Archive{o}
}

// RunTerm archives while this server leads.
func (a *Archive) RunTerm(ctx context.Context) error {
	tick := time.NewTicker(a.o.Every)
	defer tick.Stop()
	for {
		if err := a.Round(ctx); err != nil && ctx.Err() == nil {
			a.o.Log.Warn("could not archive the audit log", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Round archives what is old enough now.
func (a *Archive) Round(ctx context.Context) error {
	if why := a.o.Doubt(); why != "" {
		return fmt.Errorf("nothing is archived by age while the time is in doubt: %s", why)
	}
	years, err := a.o.Engine.View(gestor.SystemScope()).AuditYears(ctx)
	if err != nil {
		return err
	}
	for i, y := range years {
		if i == len(years)-1 || y.Year >= a.o.Now().UTC().Year()-a.o.Years {
			return nil
		}
		if err := a.archive(ctx, y); err != nil {
			return fmt.Errorf("archive %d: %w", y.Year, err)
		}
	}
	return nil
}

func (a *Archive) archive(ctx context.Context, y gestor.AuditYear) error {
	if y.Digest == "" {
		if err := a.put(ctx, y); err != nil {
			return err
		}
	}
	return a.drop(ctx, y)
}

// put writes a year into an artifact and notes it in the state.
func (a *Archive) put(ctx context.Context, y gestor.AuditYear) error {
	if err := a.o.Engine.Barrier(ctx); err != nil {
		return err
	}
	file, err := a.temp()
	if err != nil {
		return err
	}
	defer func() {
		_ = file.Close() // read to its end, or given up
		_ = os.Remove(file.Name())
	}()
	sum := sha256.New()
	if err := a.write(ctx, y, io.MultiWriter(file, sum)); err != nil {
		return err
	}
	if y.Bytes, err = file.Seek(0, io.SeekCurrent); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	y.Digest = hex.EncodeToString(sum.Sum(nil))
	if err := a.o.Blobs.Put(ctx, y.Digest, y.Bytes, file); err != nil {
		return err
	}
	if err := a.propose(ctx, "audit.archive", command.ArchiveAudit{Year: y}); err != nil {
		return err
	}
	a.o.Log.Info("a year of the audit log is archived", "year", y.Year, "entries", y.Entries, "digest", y.Digest, "bytes", y.Bytes)
	return nil
}

const tempFile = "audit-*.zst"

// temp makes a file, and removes what a crash left of another.
func (a *Archive) temp() (*os.File, error) {
	if a.o.Dir != "" {
		left, err := filepath.Glob(filepath.Join(a.o.Dir, tempFile))
		for _, name := range left {
			err = errors.Join(err, os.Remove(name))
		}
		if err != nil {
			return nil, err
		}
	}
	return os.CreateTemp(a.o.Dir, tempFile)
}

func (a *Archive) propose(ctx context.Context, action string, op command.Op) error {
	actor := gestor.SystemActor("audit")
	actor.Action = action
	_, err := a.o.Engine.Propose(ctx, command.Command{At: a.o.Now(), Actor: actor, Op: op})
	return err
}

// atOnce is how many entries are read at a time, and dropped by one command.
const atOnce = 500

// write writes the entries of a year and checks that they are what the state says of it.
func (a *Archive) write(ctx context.Context, y gestor.AuditYear, w io.Writer) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	var chain auditlog.Chain
	chain.After(y.FirstSeq-1, y.Previous, y.Year)
	view, seq := a.o.Engine.View(gestor.SystemScope()), y.FirstSeq-1
	for seq < y.LastSeq {
		entries, err := view.AuditAfter(ctx, seq, int(min(atOnce, y.LastSeq-seq)))
		if err != nil || len(entries) == 0 {
			return cmp.Or(err, fmt.Errorf("there are no entries behind %d", seq))
		}
		for _, e := range entries {
			line := e.Line()
			if problems := chain.Add(&line); len(problems) > 0 {
				return fmt.Errorf("the audit log is damaged and stays where it is: %s", problems[0])
			}
			if err := json.NewEncoder(z).Encode(line); err != nil {
				return err
			}
		}
		seq = entries[len(entries)-1].Seq
	}
	if n := chain.Checked + chain.Without; n != y.Entries {
		return fmt.Errorf("there are %d entries, and should be %d", n, y.Entries)
	}
	return z.Close()
}

// drop removes the entries of an archived year from the state, some at a time.
func (a *Archive) drop(ctx context.Context, y gestor.AuditYear) error {
	for {
		left, err := a.o.Engine.View(gestor.SystemScope()).AuditAfter(ctx, 0, 1)
		if err != nil || len(left) == 0 || left[0].Seq > y.LastSeq {
			return err
		}
		if err := a.propose(ctx, "", command.DropAudit{Year: y.Year, Most: atOnce}); err != nil {
			return err
		}
		if err := a.o.Engine.Barrier(ctx); err != nil {
			return err
		}
	}
}

// ReadArchive calls use with every entry of an archived year, the oldest first, until it returns an error. The bytes are checked
// against the digest; what was used before a damaged place must be forgotten then.
func ReadArchive(blobs Blobs, y gestor.AuditYear, use func(l *auditlog.Line) error) error {
	r, err := blobs.Get(y.Digest, 0)
	if err != nil {
		return fmt.Errorf("open the archive of %d: %w", y.Year, err)
	}
	sum := sha256.New()
	err = readLines(io.TeeReader(r, sum), use)
	if err == nil {
		_, err = io.Copy(sum, r)
	}
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("read the archive of %d: %w", y.Year, err)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != y.Digest {
		return fault.Conflict("the archive of %d is damaged: its digest is %s, and should be %s", y.Year, got, y.Digest).
			WithFix("remove it from this server's blobs; it is fetched from another server then")
	}
	return nil
}

func readLines(r io.Reader, use func(l *auditlog.Line) error) error {
	z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	return auditlog.Read(bufio.NewReader(z), use)
}
