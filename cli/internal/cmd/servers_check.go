package cmd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/saas-gestor/gestor/cli/internal/client"
	"github.com/saas-gestor/gestor/cli/internal/output"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func (r *run) serversCheckCmd() *cobra.Command {
	return &cobra.Command{
		Use: "check", Short: "Compare the state of all servers; exit code 1 if they differ", Args: cobra.NoArgs,
		Long: `Compare the state of all servers at one revision, by a hash over all of it. The exit code is 1 if a server differs from the
leader, or did not answer.`,
		Example: `  gestor servers check`,
		RunE: r.with(func(ctx context.Context, conn *client.Client, _ []string) error {
			res, err := conn.Servers().CheckServers(ctx, &gestorv1.CheckServersRequest{})
			if err != nil {
				return err
			}
			if err := r.showCheck(res); err != nil {
				return err
			}
			return checkOutcome(res)
		}),
	}
}

func (r *run) showCheck(res *gestorv1.CheckServersResponse) error {
	if r.out.JSON {
		return r.out.Object(res)
	}
	t := output.NewTable("NAME", "HASH", "RESULT")
	for _, s := range res.GetServers() {
		t.Row(s.GetName(), shortHash(s.GetHash()), r.checkResult(s))
	}
	r.out.Table(t, "the server that answered tells of none")
	r.out.Linef("compared at revision %d", res.GetRevision())
	for _, s := range res.GetServers() {
		r.warnOfClock(s)
	}
	return nil
}

// clockApart is how far a clock may be off without a word.
const clockApart = time.Second

func (r *run) warnOfClock(s *gestorv1.ServerCheck) {
	ahead, way := s.GetClockAhead().AsDuration(), "ahead of"
	if ahead < 0 {
		ahead, way = -ahead, "behind"
	}
	if ahead > clockApart {
		r.out.Linef("%s", r.out.Paint(output.Yellow, "warning")+output.Styled(output.Clean(fmt.Sprintf(": the clock of %s is %s %s the other servers'; set it, and see that it is kept right",
			s.GetName(), ahead.Round(100*time.Millisecond), way))))
	}
}

func (r *run) checkResult(s *gestorv1.ServerCheck) output.Styled {
	switch {
	case s.GetHash() == "":
		return r.out.Paint(output.Yellow, "no answer") + output.Styled(output.Clean(": "+s.GetError()))
	case len(s.GetDifferingTables()) > 0:
		return r.out.Paint(output.Red, "differs") + output.Styled(output.Clean(" in "+strings.Join(s.GetDifferingTables(), ", ")))
	default:
		return r.out.Paint(output.Green, "agrees")
	}
}

// shortHash is enough of a hash to compare by eye.
func shortHash(hash string) string {
	if len(hash) > 12 {
		return hash[:12]
	}
	return hash
}

func checkOutcome(res *gestorv1.CheckServersResponse) error {
	if res.GetEqual() {
		return nil
	}
	var differ, silent []string
	for _, s := range res.GetServers() {
		switch {
		case s.GetHash() == "":
			silent = append(silent, s.GetName())
		case len(s.GetDifferingTables()) > 0:
			differ = append(differ, s.GetName())
		}
	}
	switch {
	case len(differ) > 0:
		return failed("not the same state as on the leader: %s", strings.Join(differ, ", ")).
			withFix("keep a copy of its data for a report, and replace it: gestor servers add --replace %s", differ[0])
	case len(silent) > 0:
		return failed("did not answer, so nobody knows whether it agrees: %s", strings.Join(silent, ", ")).
			withFix("see: gestor servers list")
	default:
		return failed("the servers do not have the same state").withFix("run it again with --json and report it")
	}
}
