package audit

import (
	"context"
	"fmt"

	"github.com/saas-gestor/gestor/proto/auditlog"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Source is the audit log that is checked.
type Source interface {
	AuditYears(ctx context.Context) ([]gestor.AuditYear, error)
	AuditAfter(ctx context.Context, seq int64, limit int) ([]gestor.AuditEntry, error)
}

// Head is where a chain ends, or ended when somebody looked.
type Head struct {
	Seq  int64
	Hash auditlog.Hash
}

// Progress is how far a check is.
type Progress struct {
	Checked  int64 // entries looked at
	Total    int64
	Without  int64              // entries from before there were hashes
	Problems []auditlog.Problem // found since the last Progress
	Count    int64              // of problems in all
	Head     Head               // how far the chain goes
}

// mostProblems is how many problems a check tells of; it counts all.
const mostProblems = 100

// check is one walk.
type check struct {
	chain  auditlog.Chain
	noted  *Head
	passed bool // the noted head was found
	now    Progress
	report func(Progress) error
}

// Check walks all entries, archived years first, and calls report now and then and at the end. It compares them with each other,
// with what the state says of each year, and with a head that was noted before, if there is one. An error is that of reading
// or of report; what is wrong with the entries are problems.
func Check(ctx context.Context, from Source, blobs Blobs, noted *Head, report func(Progress) error) error {
	years, err := from.AuditYears(ctx)
	if err != nil {
		return err
	}
	c := &check{noted: noted, report: report}
	c.chain.After(0, nil, 0)
	for _, y := range years {
		c.now.Total += y.Entries
	}
	for _, y := range years {
		if err := c.year(ctx, from, blobs, y); err != nil {
			return err
		}
	}
	return c.end(ctx, from, years)
}

func (c *check) year(ctx context.Context, from Source, blobs Blobs, y gestor.AuditYear) error {
	before := c.chain.Checked + c.chain.Without
	if len(c.chain.Head) > 0 && string(c.chain.Head) != string(y.Previous) {
		c.foundf(y.FirstSeq, "the year %d does not follow the one before it", y.Year)
	}
	var err error
	if y.Digest != "" {
		err = ReadArchive(blobs, y, func(l *auditlog.Line) error { return c.add(ctx, l) })
		if err != nil && ctx.Err() == nil {
			c.foundf(y.FirstSeq, "%v", err)
			c.chain.After(y.LastSeq, y.Head, y.Year)
			return nil
		}
	} else {
		err = c.rows(ctx, from, y)
	}
	if err != nil {
		return err
	}
	if n := c.chain.Checked + c.chain.Without - before; n < y.Entries {
		c.foundf(y.LastSeq, "the year %d has %d entries, and should have %d", y.Year, n, y.Entries)
	}
	if c.chain.Seq == y.LastSeq && string(c.chain.Head) != string(y.Head) {
		c.foundf(y.LastSeq, "the year %d does not end as it did", y.Year)
	}
	return nil
}

// rows checks the entries of a year that is in the state. Those that are written meanwhile are checked too.
func (c *check) rows(ctx context.Context, from Source, y gestor.AuditYear) error {
	for seq := max(c.chain.Seq, y.FirstSeq-1); seq < y.LastSeq; {
		entries, err := from.AuditAfter(ctx, seq, atOnce)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Seq > y.LastSeq {
				break
			}
			line := e.Line()
			if err := c.add(ctx, &line); err != nil {
				return err
			}
		}
		if len(entries) == 0 || entries[len(entries)-1].Seq >= y.LastSeq {
			return nil
		}
		seq = entries[len(entries)-1].Seq
	}
	return nil
}

func (c *check) add(ctx context.Context, l *auditlog.Line) error {
	for _, p := range c.chain.Add(l) {
		c.foundf(p.Seq, "%s", p.What)
	}
	if c.noted != nil && l.Seq == c.noted.Seq {
		c.passed = true
		if string(l.Hash) != string(c.noted.Hash) {
			c.foundf(l.Seq, "its hash is %s, and was %s when it was noted: the entries up to it are others now", l.Hash, c.noted.Hash)
		}
	}
	if c.now.Checked++; c.now.Checked%atOnce == 0 {
		return c.tell(ctx)
	}
	return nil
}

func (c *check) foundf(seq int64, format string, args ...any) {
	c.now.Count++
	if c.now.Count <= mostProblems {
		c.now.Problems = append(c.now.Problems, auditlog.Problem{Seq: seq, What: fmt.Sprintf(format, args...)})
	}
}

func (c *check) tell(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.now.Without, c.now.Head = c.chain.Without, Head{c.chain.Seq, c.chain.Head}
	err := c.report(c.now)
	c.now.Problems = nil
	return err
}

// end looks for what is behind the last year the state knows, and for the noted head.
func (c *check) end(ctx context.Context, from Source, years []gestor.AuditYear) error {
	if c.noted != nil && !c.passed {
		c.foundf(c.chain.Seq, "the log ends here, or begins later: the entry %d, which was noted, is not there", c.noted.Seq)
	}
	if err := c.behind(ctx, from, years); err != nil {
		return err
	}
	return c.tell(ctx)
}

// behind looks for entries behind the end that the state knows.
func (c *check) behind(ctx context.Context, from Source, years []gestor.AuditYear) error {
	var last int64
	if n := len(years); n > 0 {
		last = years[n-1].LastSeq
	}
	entries, err := from.AuditAfter(ctx, last, 1)
	if err != nil || len(entries) == 0 || entries[0].Form == 0 && last == 0 {
		return err
	}
	now, err := from.AuditYears(ctx)
	if err != nil {
		return err
	}
	if n := len(now); n == 0 || now[n-1].LastSeq < entries[0].Seq { // it was not written meanwhile
		c.foundf(entries[0].Seq, "it stands behind the end of the log")
	}
	return nil
}
