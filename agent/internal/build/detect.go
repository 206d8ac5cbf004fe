package build

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/saas-gestor/gestor/agent/internal/task"
	"github.com/saas-gestor/gestor/plugins/runner"
	"github.com/saas-gestor/gestor/plugins/runner/client"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// detectExecutor carries out tasks of kind "detect".
type detectExecutor struct{ b *Builder }

var _ task.Executor = (*detectExecutor)(nil)

// Kind is "detect".
func (*detectExecutor) Kind() string { return "detect" }

// Run fetches a repository and tells which runner fits it. That none does is an answer, not an error.
func (e *detectExecutor) Run(ctx context.Context, t task.Task, out task.Sink) (*agentv1.TaskResult, error) {
	work := t.Spec.GetDetect()
	if work == nil {
		return nil, errors.New("the detect task names no source")
	}
	w, err := e.b.workspace(t.Spec.GetId(), e.b.o.DetectUID)
	if err != nil {
		return nil, err
	}
	defer e.b.remove(w)
	commit, err := e.b.fetch(ctx, t, &w, work.GetSource(), "detect", limitsOf(nil), out)
	if err != nil {
		return nil, err
	}
	if w.root, err = subfolder(w.src, work.GetSource().GetRoot()); err != nil {
		return nil, err
	}
	out.Phase("detect")
	name, found, err := e.b.detect(ctx, w.uid, w.tree(), out)
	if err != nil && !errors.Is(err, fault.KindInvalid) {
		return nil, orCause(ctx, err)
	}
	return &agentv1.TaskResult{Result: &agentv1.TaskResult_Detection{Detection: &gestorv1.Detection{
		Type: appType(name), Reasons: found.Reasons, BuildCommand: found.BuildCommand, StartCommand: found.StartCommand,
		Output: found.Output, Runtime: found.Runtime, Commit: commit.Hash, Branch: commit.Branch,
	}}}, nil
}

// answer is what one runner makes of a tree.
type answer struct {
	info      runner.Info
	detection runner.Detection
}

// detect asks all runners and returns the one with the highest precedence that fits. If none does, the error has
// kind invalid and the detection holds everybody's reasons.
func (b *Builder) detect(ctx context.Context, uid uint32, tree string, out task.Sink) (string, runner.Detection, error) {
	answers, err := b.ask(ctx, uid, tree)
	if err != nil {
		return "", runner.Detection{}, err
	}
	var against []string
	for _, a := range answers {
		out.Logf("%s %s: %s", a.info.Name, fits(a.detection.Fits), strings.Join(a.detection.Reasons, " "))
		for _, reason := range a.detection.Reasons {
			against = append(against, a.info.Name+": "+reason)
		}
	}
	for _, a := range answers {
		if a.detection.Fits {
			return a.info.Name, a.detection, nil
		}
	}
	return "", runner.Detection{Reasons: against},
		fault.Invalid("type", "no runner fits this repository: %s", strings.Join(against, " ")).
			WithFix("check the app's root folder, or choose its type in the settings")
}

func fits(yes bool) string {
	if yes {
		return "fits"
	}
	return "does not fit"
}

// ask returns the answers of all runners, highest precedence first.
func (b *Builder) ask(ctx context.Context, uid uint32, tree string) ([]answer, error) {
	var answers []answer
	for _, name := range b.o.Runners.Names() {
		err := b.o.Runners.Use(ctx, name, uid, func(ctx context.Context, c *client.Client) error {
			info, err := c.Info(ctx)
			if err != nil {
				return err
			}
			d, err := c.Detect(ctx, runner.Source{Dir: tree})
			answers = append(answers, answer{info, d})
			return err
		})
		if err != nil {
			return nil, fault.Wrap(err, "ask runner %s", name)
		}
	}
	slices.SortFunc(answers, func(x, y answer) int {
		return cmp.Or(y.info.Precedence-x.info.Precedence, cmp.Compare(x.info.Name, y.info.Name))
	})
	return answers, nil
}
