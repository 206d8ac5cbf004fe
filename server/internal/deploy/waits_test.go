package deploy

import (
	"testing"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

// A deployment that is said to wait is not looked at further, so nothing may be due for it.
func TestWaits_IsSaidOnlyWhenNothingIsToBeDecided(t *testing.T) {
	ends := []gestor.TaskState{
		gestor.TaskQueued, gestor.TaskLeased, gestor.TaskRunning, gestor.TaskSucceeded, gestor.TaskFailed, gestor.TaskCancelled, gestor.TaskLost,
	}
	said := 0
	for state, step := range stepIn {
		for _, a := range ends {
			for _, b := range ends {
				for _, cancelling := range []bool{false, true} {
					s := stepping(state, step, a, b)
					s.Deployment.Cancelling = cancelling
					if !waits(s.Deployment, s.Tasks) {
						continue
					}
					said++
					if ops := decide(s); len(ops) > 0 {
						t.Errorf("%s with tasks %s and %s waits, but is due: %+v", state, a, b, ops)
					}
				}
			}
		}
	}
	if said == 0 {
		t.Error("no deployment waits")
	}
}

// stepping is a deployment to two nodes whose tasks of a step are in the given states; a build has one task only.
func stepping(state gestor.DeploymentState, now step, a, b gestor.TaskState) snapshot {
	s := snapshot{
		Deployment: gestor.Deployment{ID: "dep_1", State: state, Nodes: []gestor.NodeID{"nod_1", "nod_2"}},
		Build:      &gestor.Build{Status: gestor.BuildSuccess},
		Release:    &gestor.Release{ID: "rel_1"},
		Names:      map[gestor.NodeID]string{"nod_1": "web-1", "nod_2": "web-2"},
		Tasks:      []work{{gestor.Task{ID: "tsk_1", NodeID: "nod_1", State: a}, now}},
	}
	if now == stepBuild {
		s.Build.Status = gestor.BuildRunning
		return s
	}
	s.Tasks = append(s.Tasks, work{gestor.Task{ID: "tsk_2", NodeID: "nod_2", State: b}, now})
	return s
}
