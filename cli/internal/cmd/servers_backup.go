package cmd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/rpc"
)

func (r *run) serversBackupCmd() *cobra.Command {
	var out string
	var force bool
	c := &cobra.Command{
		Use: "backup", Short: "Save the whole state of the control plane to a file", Args: cobra.NoArgs,
		Long: `Save the whole state of the control plane: users, nodes, apps, builds, deployments. Secrets in it are sealed with keys that are
not part of it: keep a copy of the key ring, apart from this file. Logs and artifacts are not part of it either.

gestor-server restore makes a fresh server of it.`,
		Example: `  gestor servers backup
  gestor servers backup --out /backups/gestor.backup --force
  gestor servers backup --out - | age -r age1… > gestor.backup.age`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			if out == "" {
				out = "gestor-" + r.env.Now().UTC().Format("20060102-150405") + ".backup"
			}
			b := &backup{r: r, conn: conn}
			if out == "-" {
				return b.toOutput(ctx)
			}
			return b.toFile(ctx, r.path(out), out, force)
		}),
	}
	c.Flags().StringVarP(&out, "out", "o", "", "the file, - for standard output (default: gestor-<time>.backup here)")
	c.Flags().BoolVar(&force, "force", false, "replace a file that is there")
	_ = c.MarkFlagFilename("out")
	return c
}

// backup is a backup on its way to a file.
type backup struct {
	r    *run
	conn *client.Client

	bytes    int64
	revision uint64
	shown    time.Time
}

// backupTries is how often a backup that breaks off is begun again.
const backupTries = 3

func (b *backup) toOutput(ctx context.Context) error {
	if b.r.out.JSON || b.r.env.OutTerminal {
		return fault.Invalid("--out", "standard output is for the backup alone").WithFix("leave out --json and redirect it, or name a file")
	}
	return b.receive(ctx, b.r.env.Stdout)
}

// toFile writes beside the file and renames, so that there is a whole backup or none.
func (b *backup) toFile(ctx context.Context, path, shown string, force bool) error {
	if _, err := os.Lstat(path); !force && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fault.Invalid("--out", "%v", err)
		}
		return fault.Exists("%s is there already", shown).WithFix("name another file with --out, or add --force")
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".gestor-backup-*") // created with mode 0600
	if err != nil {
		return fault.Invalid("--out", "%v", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	err = b.insist(ctx, tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return b.report(shown)
}

// insist begins again, on another server maybe, when a backup breaks off.
func (b *backup) insist(ctx context.Context, tmp *os.File) error {
	for try := 1; ; try++ {
		err := b.receive(ctx, tmp)
		if err == nil || ctx.Err() != nil || try == backupTries || !rpc.Outage(err) {
			return fault.Wrap(err, "nothing was saved")
		}
		b.r.out.Notef("the backup broke off after %s, beginning again", sizeOf(b.bytes))
		if _, err := tmp.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := tmp.Truncate(0); err != nil {
			return err
		}
	}
}

func (b *backup) receive(ctx context.Context, to io.Writer) error {
	b.bytes = 0
	stream, err := b.conn.Servers().Backup(ctx, &gestorv1.BackupRequest{})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	for stream.Receive() {
		n, err := to.Write(stream.Msg().GetData())
		if err != nil {
			return err
		}
		b.bytes += int64(n)
		b.progress()
	}
	if b.revision, err = strconv.ParseUint(stream.ResponseHeader().Get(rpc.HeaderRevision), 10, 64); err != nil {
		b.revision = 0 // a courtesy: the backup itself names it
	}
	b.clear()
	if err := stream.Err(); err != nil || b.bytes > 0 {
		return err
	}
	return failed("the server sent an empty backup").withFix("look into its log")
}

// progress redraws a line on a terminal.
func (b *backup) progress() {
	if !b.r.env.ErrTerminal || b.r.out.JSON || time.Since(b.shown) < 100*time.Millisecond {
		return
	}
	b.shown = time.Now()
	_, _ = io.WriteString(b.r.env.Stderr, "\r"+sizeOf(b.bytes)+"\x1b[K")
}

func (b *backup) clear() {
	if !b.shown.IsZero() {
		_, _ = io.WriteString(b.r.env.Stderr, "\r\x1b[K")
	}
	b.shown = time.Time{}
}

func (b *backup) report(path string) error {
	if b.r.out.JSON {
		return b.r.out.Value(map[string]any{"file": path, "bytes": b.bytes, "revision": b.revision})
	}
	text := "saved " + path + ", " + sizeOf(b.bytes)
	if b.revision > 0 {
		text += ", revision " + strconv.FormatUint(b.revision, 10)
	}
	b.r.out.Linef("%s", text)
	return nil
}

func sizeOf(n int64) string {
	if n == 0 {
		return "0 B"
	}
	return output.Bytes(n)
}
