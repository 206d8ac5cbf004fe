package cmd

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) auditVerifyCmd() *cobra.Command {
	var head string
	var partial bool
	c := &cobra.Command{
		Use: "verify [file]...", Short: "Check that the audit log is what it was; exit code 1 if it is not",
		Long: `Check the chain of hashes over the audit log: that nothing was changed, left out, put in or moved. Without a file the server
checks what it has, archived years included. With files, those are checked here, without a server: exports as JSON lines, or
the files of a server's audit/ directory, in the order of their entries.

A chain cannot show that entries are missing at its end. Note the head that is printed, away from the servers, and give it to
the next check: then the log must still go through it.

A file of one tenant, or of a choice, has gaps: --partial takes them, and then what is left out is not found either.`,
		Example: `  gestor audit verify
  gestor audit verify --head 1234:9f86d081884c7d65…
  gestor audit verify audit-2026.jsonl
  gestor audit verify --partial ours.jsonl`,
		RunE: func(c *cobra.Command, args []string) error {
			noted, err := readHead(head)
			switch {
			case err != nil:
				return err
			case len(args) > 0:
				return r.verifyFiles(args, noted, partial)
			case partial:
				return usage(c, "--partial is for files")
			}
			return r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
				return r.verifyAudit(ctx, conn, noted)
			})(c, args)
		},
	}
	c.Flags().StringVar(&head, "head", "", "a head that was noted before, SEQ:HASH")
	c.Flags().BoolVar(&partial, "partial", false, "the files leave entries out")
	return c
}

func readHead(text string) (*gestorv1.AuditHead, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // none was noted
	}
	seq, hash, ok := strings.Cut(text, ":")
	n, err := strconv.ParseInt(seq, 10, 64)
	var h auditlog.Hash
	if !ok || err != nil || n <= 0 || hash == "" || h.UnmarshalText([]byte(hash)) != nil {
		return nil, fault.Invalid("--head", "%q is no head", text).WithFix("write it as it was printed, SEQ:HASH")
	}
	return &gestorv1.AuditHead{Seq: n, Hash: h.String()}, nil
}

func (r *run) verifyAudit(ctx context.Context, conn *client.Client, noted *gestorv1.AuditHead) error {
	stream, err := conn.Audit().VerifyAudit(ctx, &gestorv1.VerifyAuditRequest{Head: noted})
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	var last *gestorv1.VerifyAuditResponse
	var problems []*gestorv1.AuditProblem
	for stream.Receive() {
		last = stream.Msg()
		problems = append(problems, last.GetProblems()...)
	}
	if err := stream.Err(); err != nil {
		return err
	}
	if !last.GetDone() {
		return fault.Unavailable("the server left before the check was over").WithFix("run it again")
	}
	last.Problems = problems
	return r.showVerdict(last, 0)
}

// verifyFiles checks files as one chain.
func (r *run) verifyFiles(names []string, noted *gestorv1.AuditHead, partial bool) error {
	c := fileCheck{chain: auditlog.Chain{Partial: partial}, noted: noted, out: &gestorv1.VerifyAuditResponse{Done: true}}
	for _, name := range names {
		if err := c.read(r.path(name)); err != nil {
			return fault.Wrap(err, "%s", name)
		}
	}
	c.end()
	return r.showVerdict(c.out, c.chain.Masked)
}

type fileCheck struct {
	chain  auditlog.Chain
	noted  *gestorv1.AuditHead
	passed bool
	out    *gestorv1.VerifyAuditResponse
}

func (c *fileCheck) read(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fault.Invalid("file", "%v", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	return auditlog.Read(f, func(l *auditlog.Line) error {
		for _, p := range c.chain.Add(l) {
			c.found(p)
		}
		if c.noted != nil && l.Seq == c.noted.GetSeq() {
			c.passed = true
			if l.Hash.String() != c.noted.GetHash() {
				c.found(auditlog.Problem{Seq: l.Seq, What: "it has another hash than was noted: the entries up to it are others now"})
			}
		}
		return nil
	})
}

// mostShown is how many problems are listed; all are counted.
const mostShown = 100

func (c *fileCheck) found(p auditlog.Problem) {
	if c.out.ProblemCount++; c.out.GetProblemCount() <= mostShown {
		c.out.Problems = append(c.out.Problems, &gestorv1.AuditProblem{Seq: p.Seq, What: p.What})
	}
}

func (c *fileCheck) end() {
	if c.noted != nil && !c.passed {
		c.found(auditlog.Problem{Seq: c.chain.Seq, What: fmt.Sprintf("the file ends here, or begins later: the entry %d, which was noted, is not in it", c.noted.GetSeq())})
	}
	c.out.Checked, c.out.Without = c.chain.Checked+c.chain.Without, c.chain.Without
	c.out.Total = c.out.GetChecked()
	if len(c.chain.Head) > 0 {
		c.out.Head = &gestorv1.AuditHead{Seq: c.chain.Seq, Hash: c.chain.Head.String()}
	}
}

func (r *run) showVerdict(v *gestorv1.VerifyAuditResponse, masked int64) error {
	if r.out.JSON {
		if err := r.out.Object(v); err != nil {
			return err
		}
	} else {
		r.printVerdict(v, masked)
	}
	if v.GetProblemCount() == 0 {
		return nil
	}
	return failed("the audit log is not what it was: %d problems", v.GetProblemCount()).
		withFix("keep a copy of the servers' data, and compare with other servers, archives, exports and backups")
}

func (r *run) printVerdict(v *gestorv1.VerifyAuditResponse, masked int64) {
	for _, p := range v.GetProblems() {
		r.out.Linef("%s", r.out.Paint(output.Red, fmt.Sprintf("entry %d", p.GetSeq()))+output.Styled(output.Clean(": "+p.GetWhat())))
	}
	r.out.Linef("%d entries checked", v.GetChecked())
	if v.GetWithout() > 0 {
		r.out.Linef("%d of them are older than hashes: nothing can be said of them", v.GetWithout())
	}
	if masked > 0 {
		r.out.Linef("%d of them are other tenants', and only stand in their place", masked)
	}
	if v.GetProblemCount() == 0 && v.GetHead() != nil {
		r.out.Linef("%s", r.out.Paint(output.Green, "whole"))
		r.out.Linef("head %d:%s", v.GetHead().GetSeq(), v.GetHead().GetHash())
	}
}
