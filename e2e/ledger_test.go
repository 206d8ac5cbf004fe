package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/saas-gestor/gestor/e2e/stack"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/proto/gen/gestor/v1/gestorv1connect"
	"github.com/saas-gestor/gestor/proto/rpc"
)

// settle ends the traffic and holds what the servers know, and what happened on the hosts, against the ledger: nothing
// acknowledged is missing, nothing happened twice, nothing is stuck, and all servers tell the same.
func (tr *traffic) settle() {
	w := tr.w
	w.t.Helper()
	tr.end()
	lines := tr.talking.end()
	must(w.t, w.WaitServers(w.t.Context()))
	tr.nothingIsStuck()
	tr.jobsRanOnce()
	tr.hooksRanOnce()
	tr.logsAreEqual()
	for i, line := range lines {
		if line != i+1 {
			w.t.Errorf("the followed log has %d as its line %d: a gap or a repeat", line, i+1)
			break
		}
	}
	w.serversAgree()
	w.agentsAreSpread()
	for _, wrong := range tr.wrong {
		w.t.Error(wrong)
	}
	w.t.Logf("%d jobs, %d writes, %d reads, %d deployments, %d followed lines; the longest wait for a write was %v (%s)",
		len(tr.jobs), tr.progress.Load(), tr.reads, tr.deploys, len(lines), tr.worst.Round(time.Millisecond), tr.worstWhy)
}

func (tr *traffic) nothingIsStuck() {
	tr.w.t.Helper()
	tasks := gestorv1connect.NewTaskServiceClient(tr.client.HTTP, tr.client.URL, tr.client.Options()...)
	ctx, cancel := context.WithTimeout(tr.w.t.Context(), time.Minute)
	defer cancel()
	var left []*gestorv1.Task
	err := stack.Poll(ctx, "all tasks to end", func(ctx context.Context) (bool, error) {
		answer, err := tasks.ListTasks(ctx, &gestorv1.ListTasksRequest{Active: true})
		left = answer.GetTasks()
		return err == nil && len(left) == 0, nil
	})
	for _, task := range left {
		tr.w.t.Errorf("%v: task %s (%s) is %s on %q, attempt %d, phase %q: %s%s", err, task.GetId(), task.GetKind(), task.GetState(),
			task.GetNodeName(), task.GetAttempt(), task.GetPhase(), task.GetWaiting(), task.GetError())
	}
}

// builds are all of an app.
func (tr *traffic) builds(app string) []*gestorv1.Build {
	tr.w.t.Helper()
	builds := gestorv1connect.NewBuildServiceClient(tr.client.HTTP, tr.client.URL, tr.client.Options()...)
	var all []*gestorv1.Build
	page := &gestorv1.PageRequest{}
	for {
		answer, err := builds.ListBuilds(tr.w.t.Context(), &gestorv1.ListBuildsRequest{App: app, Page: page})
		must(tr.w.t, err)
		all = append(all, answer.GetBuilds()...)
		if page.Token = answer.GetPage().GetNextToken(); page.Token == "" {
			return all
		}
	}
}

// jobsRanOnce requires each acknowledged job to be there and to have run, and no other.
func (tr *traffic) jobsRanOnce() {
	t := tr.w.t
	t.Helper()
	there := map[string]*gestorv1.Build{}
	for _, b := range tr.builds("jobs") {
		there[b.GetId()] = b
	}
	tasks := gestorv1connect.NewTaskServiceClient(tr.client.HTTP, tr.client.URL, tr.client.Options()...)
	for request, id := range tr.jobs {
		b := there[id]
		delete(there, id)
		if b == nil {
			t.Errorf("job %s (request %s) was acknowledged and is not there", id, request)
			continue
		}
		answer, err := tasks.GetTask(t.Context(), &gestorv1.GetTaskRequest{Id: b.GetTaskId()})
		must(t, err)
		if task := answer.GetTask(); task.GetState() != gestorv1.TaskState_TASK_STATE_SUCCEEDED || task.GetAttempt() != 1 {
			t.Errorf("job %d is %s after %d attempts, want it done at the first: %s", b.GetNumber(), task.GetState(), task.GetAttempt(), task.GetError())
		}
		if n := strings.Count(tr.log(tr.client, b.GetTaskId()), "the job begins"); n != 1 {
			t.Errorf("job %d ran %d times by its log", b.GetNumber(), n)
		}
	}
	for id := range there {
		t.Errorf("job %s is there, and nobody was told so", id)
	}
}

// hooksRanOnce requires one run of the hook for each deployment on each node.
func (tr *traffic) hooksRanOnce() {
	t := tr.w.t
	t.Helper()
	for _, a := range tr.w.Agents {
		raw, err := os.ReadFile(filepath.Join(a.DeployRoot, "site", "shared", "uploads", "hooks"))
		must(t, err)
		runs := strings.Fields(string(raw))
		slices.Sort(runs)
		if once := slices.Compact(slices.Clone(runs)); len(once) != len(runs) {
			t.Errorf("on %s the hook ran %d times for %d releases", a.Node, len(runs), len(once))
		}
		if len(runs) < tr.deploys {
			t.Errorf("on %s the hook ran %d times, for %d deployments that ended well", a.Node, len(runs), tr.deploys)
		}
	}
	for _, d := range tr.w.deployments("site") {
		if d.State != "DEPLOYMENT_STATE_SUCCEEDED" {
			t.Errorf("deployment %s is %s: %s", d.ID, d.State, d.Error)
		}
	}
}

// logsAreEqual requires the logs of jobs, read at each server alone, to be the same and without a gap or a repeat.
func (tr *traffic) logsAreEqual() {
	t := tr.w.t
	t.Helper()
	var ids []string
	for _, b := range append(tr.builds("jobs"), tr.builds("talker")...) {
		ids = append(ids, b.GetTaskId())
	}
	var first []string
	for i, server := range tr.w.Servers {
		client, err := tr.w.Client(t.Context(), rpc.Options{Consistency: rpc.ConsistencyLocal}, server)
		must(t, err)
		defer client.Close()
		for j, id := range ids {
			log := tr.log(client, id)
			if i == 0 {
				first = append(first, log)
			} else if log != first[j] {
				t.Errorf("the log of task %s is %d bytes at %s, and differs from the %d bytes at %s", id, len(log), server.Host, len(first[j]), tr.w.Servers[0].Host)
			}
		}
	}
}

// log is a task's log at a server, one line a line, with its numbers, which must count without a gap.
func (tr *traffic) log(client *rpc.Client, task string) string {
	t := tr.w.t
	t.Helper()
	stream, err := gestorv1connect.NewLogServiceClient(client.HTTP, client.URL, client.Options()...).
		TailTaskLog(t.Context(), &gestorv1.TailTaskLogRequest{TaskId: task})
	must(t, err)
	defer stream.Close() // it was read to its end
	var out strings.Builder
	var last uint64
	for stream.Receive() {
		for _, line := range stream.Msg().GetLines() {
			if last != 0 && line.GetSeq() != last+1 && line.GetSeq()>>40 == last>>40 {
				t.Errorf("the log of task %s goes from line %d to %d", task, last, line.GetSeq())
			}
			last = line.GetSeq()
			fmt.Fprintf(&out, "%d %s %s %s %s\n", last, line.GetAt().AsTime(), line.GetStream(), line.GetPhase(), line.GetText())
		}
	}
	if err := stream.Err(); err != nil {
		t.Errorf("read the log of task %s: %v", task, err)
	}
	return out.String()
}

// serversAgree requires the state of all servers to be the same.
func (w *world) serversAgree() {
	w.t.Helper()
	check := query[struct {
		Equal   bool `json:"equal"`
		Servers []struct {
			Name, Hash, Error string
			DifferingTables   []string `json:"differing_tables"`
		} `json:"servers"`
	}](w, "servers", "check")
	if !check.Equal || len(check.Servers) != len(w.Servers) {
		w.t.Errorf("the servers' states are %+v, want all the same", check)
	}
}

// agentsAreSpread requires every agent to have one session, and no server to have far more than its share.
func (w *world) agentsAreSpread() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	seen := errors.New("nothing seen")
	err := stack.Poll(ctx, "the agents to be spread over the servers", func(ctx context.Context) (bool, error) {
		all, err := w.ListServers(ctx, rpc.Options{})
		if err != nil {
			seen = err
			return false, nil //nolint:nilerr // it is asked again, and told if that was the last time
		}
		total, most, counts := 0, 0, []int32{}
		for _, s := range all {
			total, most = total+int(s.GetAgents()), max(most, int(s.GetAgents()))
			counts = append(counts, s.GetAgents())
		}
		seen = fmt.Errorf("sessions by server: %v of %d agents", counts, len(w.Agents))
		share := float64(len(w.Agents)) / float64(len(all))
		return total == len(w.Agents) && float64(most) <= max(share*1.2, share+2), nil
	})
	if err != nil {
		w.t.Errorf("%v: %v", err, seen)
	}
}
