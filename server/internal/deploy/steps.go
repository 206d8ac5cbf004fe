package deploy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/command"
	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// Ceilings of attempts, on top of what the settings say.
const (
	prepareSlack = 10 * time.Minute // download, extract, pre_switch
	switchSlack  = 10 * time.Minute // reload, post_switch
	watchSlack   = time.Minute
	retireSlack  = 2 * time.Minute
	removeTime   = 5 * time.Minute
)

// missing are the tasks of a step for the nodes that have none.
func (s *snapshot) missing(step step) []command.CreateTask {
	var out []command.CreateTask
	for _, n := range s.Deployment.Nodes {
		if _, ok := s.last(step, n); !ok && s.exists(n) {
			out = append(out, s.task(step, n, 1))
		}
	}
	return out
}

// reverts are the tasks that bring nodes back: one where the switch may have begun and nothing reverts it, another where
// the last one ended without success.
func (s *snapshot) reverts() []command.CreateTask {
	var out []command.CreateTask
	for _, n := range s.Deployment.Nodes {
		sw, ok := s.last(stepSwitch, n)
		if !ok || sw.Fence == 0 || !s.exists(n) {
			continue // never given to the node, or there is none to bring back
		}
		last, ok := s.last(stepRevert, n)
		if ok && (last.State == gestor.TaskSucceeded || !last.State.Ended()) {
			continue
		}
		out = append(out, s.revert(n, last))
	}
	return out
}

func (s *snapshot) revert(n gestor.NodeID, last work) command.CreateTask {
	tries := len(slices.DeleteFunc(s.of(stepRevert), func(w work) bool { return target(w.Task) != n }))
	c := s.task(stepRevert, n, tries+1)
	if tries > 0 {
		c.Task.NotBefore = last.FinishedAt.Add(gestor.Backoff(tries))
	}
	return c
}

// retires tidy up on every node, outside the deploy lock.
func (s *snapshot) retires() []command.CreateTask {
	var out []command.CreateTask
	for _, n := range s.Deployment.Nodes {
		if s.exists(n) {
			out = append(out, s.task(stepRetire, n, 1))
		}
	}
	return out
}

// removals take the app off nodes that the release before was on and this one is not.
func (s *snapshot) removals() []command.CreateTask {
	var out []command.CreateTask
	for _, n := range s.PreviousNodes {
		if s.exists(n) && !slices.Contains(s.Deployment.Nodes, n) {
			out = append(out, s.task(stepRemove, n, 1))
		}
	}
	return out
}

// task is the n-th task of a step for a node. Its id follows from these, so that proposing it twice makes one task.
func (s *snapshot) task(step step, node gestor.NodeID, n int) command.CreateTask {
	t := gestor.Task{
		ID: taskID(s.Deployment.ID, step, node, n), TenantID: s.App.TenantID, NodeID: node,
		AppID: s.App.ID, DeploymentID: s.Deployment.ID, Resource: "app/" + s.App.Slug,
		MaxAttempts: 3, Priority: gestor.PriorityDeploy, OnLost: gestor.LostRetry,
	}
	spec := &agentv1.TaskSpec{Resource: t.Resource}
	set := s.Deployment.Settings.WithDefaults()
	switch step {
	case stepPrepare:
		t.Kind, t.Timeout = gestor.TaskPrepare, set.HealthTimeout+prepareSlack
		spec.Work = &agentv1.TaskSpec_Prepare{Prepare: s.prepareWork(set)}
	case stepSwitch:
		t.Kind, t.Timeout = gestor.TaskSwitch, set.HealthTimeout+switchSlack
		if set.PostSwitch != "" {
			t.OnLost = gestor.LostHold // nobody knows whether running it twice is harmless
		}
		spec.Work = &agentv1.TaskSpec_Switch{Switch: &agentv1.SwitchWork{
			App: appRef(s.App), Release: releaseSpec(s.Release), Serving: serving(set), PostSwitch: set.PostSwitch,
		}}
	case stepRevert:
		t.Kind, t.Timeout, t.Priority, t.MaxAttempts = gestor.TaskSwitch, set.HealthTimeout+switchSlack, gestor.PriorityRevert, 5
		spec.Work = &agentv1.TaskSpec_Switch{Switch: &agentv1.SwitchWork{
			App: appRef(s.App), Release: releaseSpec(s.Previous), Serving: serving(s.PreviousSettings.WithDefaults()), Revert: true,
		}}
	case stepWatch:
		d := set.WatchOr(s.Release.Artifact.Kind)
		t.Kind, t.Timeout = gestor.TaskWatch, d+set.HealthTimeout+watchSlack
		spec.Work = &agentv1.TaskSpec_Watch{Watch: &agentv1.WatchWork{
			App: appRef(s.App), Release: releaseSpec(s.Release), Serving: serving(set), Duration: durationpb.New(d),
		}}
	case stepRetire:
		t.Kind, t.Timeout, t.Priority = gestor.TaskRetire, set.Drain+retireSlack, gestor.PriorityLow
		spec.Work = &agentv1.TaskSpec_Retire{Retire: &agentv1.RetireWork{
			App: appRef(s.App), Keep: s.keep(), Drain: durationpb.New(set.Drain),
		}}
	case stepRemove:
		t.Kind, t.Timeout, t.Priority = gestor.TaskRemove, removeTime, gestor.PriorityLow
		spec.Work = &agentv1.TaskSpec_Remove{Remove: &agentv1.RemoveWork{App: appRef(s.App)}}
	case stepBuild:
		panic("a build's task is made with the build")
	}
	spec.Kind = t.Kind
	t.Spec = marshal(spec)
	return command.CreateTask{Task: t}
}

func (s *snapshot) prepareWork(set gestor.AppSettings) *agentv1.PrepareWork {
	w := &agentv1.PrepareWork{App: appRef(s.App), Release: releaseSpec(s.Release), Serving: serving(set), PreSwitch: set.PreSwitch}
	if s.Deployment.Rollback {
		w.PreSwitch = "" // it was run when the release was new
	}
	return w
}

// keep names the releases that stay on the hosts.
func (s *snapshot) keep() []string {
	live := map[gestor.ReleaseID]bool{s.App.CurrentRelease: true, s.Deployment.PreviousRelease: true}
	if s.Deployment.State == gestor.DeploymentWatching {
		live[s.Deployment.ReleaseID] = true
	}
	// One that was never live stays on no host.
	failed := func(r gestor.Release) bool {
		return r.ID == s.Deployment.ReleaseID && r.Status == gestor.ReleaseNew && !live[r.ID]
	}
	return kept(slices.DeleteFunc(slices.Clone(s.Releases), failed), live, s.Deployment.Settings.WithDefaults().Keep)
}

// kept names the releases that stay: the newest n that are not bad, the good one that was live last, pinned ones, and
// those in live. The list is newest first.
func kept(releases []gestor.Release, live map[gestor.ReleaseID]bool, n int) []string {
	good := lastGood(releases, live)
	var names []string
	for _, r := range releases {
		usable := r.Status == gestor.ReleaseGood || r.Status == gestor.ReleaseNew
		if usable && n > 0 {
			n--
			names = append(names, r.Name)
			continue
		}
		if live[r.ID] || r.Pinned || r.ID == good {
			names = append(names, r.Name)
		}
	}
	return names
}

func lastGood(releases []gestor.Release, live map[gestor.ReleaseID]bool) gestor.ReleaseID {
	var last gestor.Release
	for _, r := range releases {
		if r.Status == gestor.ReleaseGood && !live[r.ID] && r.LiveAt.After(last.LiveAt) {
			last = r
		}
	}
	return last.ID
}

func appRef(a gestor.App) *agentv1.AppRef {
	return &agentv1.AppRef{Id: string(a.ID), Slug: a.Slug, Uid: a.UID}
}

// releaseSpec is a release as agents see it; nil is the spec without a name, which takes the app off the web server.
func releaseSpec(r *gestor.Release) *agentv1.ReleaseSpec {
	if r == nil {
		return &agentv1.ReleaseSpec{}
	}
	a := r.Artifact
	spec := &agentv1.ReleaseSpec{
		Id: string(r.ID), Name: r.Name, ArtifactDigest: a.Digest, ArtifactBytes: a.Bytes, UnpackedBytes: a.UnpackedBytes,
		Files: a.Files, Kind: kinds[a.Kind], WebRoot: a.WebRoot, StartCommand: a.StartCommand, Commit: a.Commit,
	}
	if a.RuntimeName != "" {
		spec.Runtime = &agentv1.Runtime{Name: a.RuntimeName, Version: a.RuntimeVersion}
	}
	return spec
}

var kinds = map[gestor.Kind]gestorv1.AppKind{
	gestor.KindStatic:  gestorv1.AppKind_APP_KIND_STATIC,
	gestor.KindProcess: gestorv1.AppKind_APP_KIND_PROCESS,
}

func serving(s gestor.AppSettings) *agentv1.Serving {
	return &agentv1.Serving{
		Domains: s.Domains, Port: int32(s.Port), HealthPath: s.HealthPath, HealthTimeout: durationpb.New(s.HealthTimeout),
		Drain: durationpb.New(s.Drain), Shared: s.Shared, Limits: limits(s.Limits),
	}
}

func limits(l gestor.Limits) *gestorv1.Limits {
	out := &gestorv1.Limits{MemoryBytes: l.MemoryBytes, Cpus: l.CPUs, Processes: int32(l.Processes), DiskBytes: l.DiskBytes}
	if l.Time > 0 {
		out.Time = durationpb.New(l.Time)
	}
	return out
}

// taskID is the id of the n-th task of a step for a node.
func taskID(d gestor.DeploymentID, s step, node gestor.NodeID, n int) gestor.TaskID {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %s %s %d", d, s, node, n))
	return gestor.TaskID("tsk_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:])[:26]))
}

// marshal encodes a spec made here, which cannot fail.
func marshal(spec *agentv1.TaskSpec) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(spec)
	if err != nil {
		panic(fmt.Sprintf("a spec is valid UTF-8, which its validation ensures: %v", err))
	}
	return b
}
