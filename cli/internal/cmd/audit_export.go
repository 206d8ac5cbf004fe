package cmd

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

type auditExport struct {
	auditOptions

	year   int32
	format string
	out    string
	force  bool
}

func (r *run) auditExportCmd() *cobra.Command {
	var o auditExport
	c := &cobra.Command{
		Use: "export", Short: "Save the audit log to a file, archived years too", Args: cobra.NoArgs,
		Long: `Save the audit log to a file, the oldest entry first, archived years too.

jsonl has one JSON object a line, with the hashes: gestor audit verify checks such a file without a server. csv is for
spreadsheets; cells they would take for a formula begin with an apostrophe. The export is itself an entry.`,
		Example: `  gestor audit export --output audit.jsonl
  gestor audit export --year 2026 --format csv --output 2026.csv
  gestor audit export --all --output - | zstd > audit.jsonl.zst`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error { return r.exportAudit(ctx, conn, o) }),
	}
	o.flags(c)
	f := c.Flags()
	f.Int32Var(&o.year, "year", 0, "only of this year")
	f.StringVar(&o.format, "format", "jsonl", "jsonl or csv")
	f.StringVarP(&o.out, "output", "o", "", "the file, - for standard output (default: audit-<time>.<format> here)")
	f.BoolVar(&o.force, "force", false, "replace a file that is there")
	_ = c.MarkFlagFilename("output")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"jsonl", "csv"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// exportAudit writes beside the file and renames, so that there is a whole export or none.
func (r *run) exportAudit(ctx context.Context, conn *client.Client, o auditExport) error {
	format, ok := map[string]gestorv1.AuditFormat{"jsonl": gestorv1.AuditFormat_AUDIT_FORMAT_JSONL, "csv": gestorv1.AuditFormat_AUDIT_FORMAT_CSV}[o.format]
	if !ok {
		return fault.Invalid("--format", "%q is none", o.format).WithFix("write jsonl or csv")
	}
	filter, err := o.filter(r.env.Now())
	if err != nil {
		return err
	}
	open := func() (auditStream, error) {
		if o.all {
			return platformStream(conn.Audit().ExportPlatformAudit(ctx, &gestorv1.ExportPlatformAuditRequest{Filter: filter, TenantId: o.tenant, Year: o.year, Format: format}))
		}
		return tenantStream(conn.Audit().ExportAudit(ctx, &gestorv1.ExportAuditRequest{Filter: filter, Year: o.year, Format: format}))
	}
	if o.out == "" {
		o.out = "audit-" + r.env.Now().UTC().Format("20060102-150405") + "." + o.format
	}
	if o.out == "-" {
		if r.out.JSON {
			return fault.Invalid("--output", "standard output is for the export alone").WithFix("leave out --json, or name a file")
		}
		_, err := receiveAudit(open, r.env.Stdout)
		return err
	}
	return r.exportToFile(open, o)
}

func (r *run) exportToFile(open func() (auditStream, error), o auditExport) error {
	path := r.path(o.out)
	if _, err := os.Lstat(path); !o.force && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return fault.Invalid("--output", "%v", err)
		}
		return fault.Exists("%s is there already", o.out).WithFix("name another file, or add --force")
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".gestor-audit-*") // created with mode 0600
	if err != nil {
		return fault.Invalid("--output", "%v", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	entries, err := receiveAudit(open, tmp)
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return fault.Wrap(err, "nothing was saved")
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	if r.out.JSON {
		return r.out.Value(map[string]any{"file": o.out, "entries": entries})
	}
	r.out.Linef("%d entries saved to %s", entries, o.out)
	return nil
}

// auditStream is an export on its way.
type auditStream struct {
	receive func() bool
	piece   func() (data []byte, entries int64)
	err     func() error
	close   func() error
}

func receiveAudit(open func() (auditStream, error), to io.Writer) (entries int64, err error) {
	stream, err := open()
	if err != nil {
		return 0, err
	}
	defer func() { _ = stream.close() }() // it was read to its end, or given up
	for stream.receive() {
		var data []byte
		data, entries = stream.piece()
		if _, err := to.Write(data); err != nil {
			return entries, err
		}
	}
	return entries, stream.err()
}

func (r *run) auditArchivesCmd() *cobra.Command {
	return &cobra.Command{
		Use: "archives", Short: "The years of the audit log, and where they are", Args: cobra.NoArgs,
		Long: `List the years of the audit log. Old ones are archived: compressed, on a majority of the servers, and kept for ever. They are
part of exports and checks as the others are. How many years are not archived says audit_years in the servers' configuration.`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Audit().ListAuditYears(ctx, &gestorv1.ListAuditYearsRequest{})
			if err != nil {
				return err
			}
			if r.out.JSON {
				return r.out.Object(res)
			}
			t := output.NewTable("YEAR", "ENTRIES", "FROM", "TO", "HEAD", "ARCHIVED", "SIZE", "DIGEST")
			for _, y := range res.GetYears() {
				archived, size := "", ""
				if y.GetDigest() != "" {
					archived, size = r.out.Ago(y.GetArchivedAt()), output.Bytes(y.GetBytes())
				}
				t.Row(strconv.Itoa(int(y.GetYear())), strconv.FormatInt(y.GetEntries(), 10), strconv.FormatInt(y.GetFirstSeq(), 10), strconv.FormatInt(y.GetLastSeq(), 10),
					shortHash(y.GetHead()), archived, size, shortHash(y.GetDigest()))
			}
			r.out.Table(t, "there are no entries yet")
			return nil
		}),
	}
}
