package clitest

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/saas-gestor/gestor/proto/fault"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

// file is State as JSON; messages are protojson. A list of states holds changes: each is the one before with the given
// fields replaced.
type file struct {
	Unclaimed   bool                `json:"unclaimed"`
	Users       []json.RawMessage   `json:"users"`
	Invitations []json.RawMessage   `json:"invitations"`
	Nodes       []json.RawMessage   `json:"nodes"`
	Tenants     []json.RawMessage   `json:"tenants"`
	Apps        []json.RawMessage   `json:"apps"`
	Env         []json.RawMessage   `json:"env"`
	EnvVersions []json.RawMessage   `json:"envVersions"`
	EnvDiff     json.RawMessage     `json:"envDiff"`
	Values      map[string]string   `json:"values"`
	Unreadable  []string            `json:"unreadable"`
	Keys        json.RawMessage     `json:"keys"`
	Builds      []json.RawMessage   `json:"builds"`
	Releases    []json.RawMessage   `json:"releases"`
	AppLog      []json.RawMessage   `json:"appLog"`
	Tasks       [][]json.RawMessage `json:"tasks"`
	Deployments [][]json.RawMessage `json:"deployments"`
	Logs        map[string][]string `json:"logs"`
	Fail        map[string]failure  `json:"fail"`
	Break       map[string]int      `json:"break"`
	Kill        map[string]int      `json:"kill"`
	Hang        map[string]int      `json:"hang"`
	Hold        string              `json:"hold"`
	Servers     [][]json.RawMessage `json:"servers"`
	Tolerates   int32               `json:"tolerates"`
	Notice      string              `json:"notice"`
	Check       json.RawMessage     `json:"check"`
	Backup      []string            `json:"backup"`

	SecondFactor []string `json:"secondFactor"` // "TOTP", "PASSKEY", "RECOVERY_CODE"
	StepUp       []string `json:"stepUp"`
}

// failure is a fault that a method answers.
type failure struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
	Field   string `json:"field"`
	Fix     string `json:"fix"`
}

// Load reads a State from JSON.
func Load(raw []byte) (State, error) {
	var f file
	if err := json.Unmarshal(raw, &f); err != nil {
		return State{}, fmt.Errorf("read state: %w", err)
	}
	s := State{
		Unclaimed: f.Unclaimed, Logs: f.Logs, Break: f.Break, Kill: f.Kill, Hang: f.Hang, Hold: f.Hold, Fail: map[string]*fault.Error{},
		Tolerates: f.Tolerates, Notice: f.Notice, Backup: f.Backup, SecondFactor: f.SecondFactor, StepUp: f.StepUp,
		Values: f.Values, Unreadable: f.Unreadable,
	}
	for method, e := range f.Fail {
		s.Fail[method] = &fault.Error{Kind: fault.Kind(e.Kind), Message: e.Message, Field: e.Field, Fix: e.Fix}
	}
	l := &loader{}
	s.Tenants = list(l, f.Tenants, func() *gestorv1.Tenant { return &gestorv1.Tenant{} })
	s.Users = list(l, f.Users, func() *gestorv1.User { return &gestorv1.User{} })
	s.Invitations = list(l, f.Invitations, func() *gestorv1.Invitation { return &gestorv1.Invitation{} })
	s.Nodes = list(l, f.Nodes, func() *gestorv1.Node { return &gestorv1.Node{} })
	s.Apps = list(l, f.Apps, func() *gestorv1.App { return &gestorv1.App{} })
	s.Env = list(l, f.Env, func() *gestorv1.EnvVar { return &gestorv1.EnvVar{} })
	s.EnvVersions = list(l, f.EnvVersions, func() *gestorv1.EnvVersion { return &gestorv1.EnvVersion{} })
	if len(f.EnvDiff) > 0 {
		s.EnvDiff = list(l, []json.RawMessage{f.EnvDiff}, func() *gestorv1.DiffEnvResponse { return &gestorv1.DiffEnvResponse{} })[0]
	}
	if len(f.Keys) > 0 {
		s.Keys = list(l, []json.RawMessage{f.Keys}, func() *gestorv1.GetKeysResponse { return &gestorv1.GetKeysResponse{} })[0]
	}
	s.Builds = list(l, f.Builds, func() *gestorv1.Build { return &gestorv1.Build{} })
	s.Releases = list(l, f.Releases, func() *gestorv1.Release { return &gestorv1.Release{} })
	s.AppLog = list(l, f.AppLog, func() *gestorv1.TailAppLogResponse { return &gestorv1.TailAppLogResponse{} })
	for _, states := range f.Tasks {
		s.Tasks = append(s.Tasks, list(l, states, following[*gestorv1.Task](&gestorv1.Task{})))
	}
	for _, states := range f.Deployments {
		s.Deployments = append(s.Deployments, list(l, states, following[*gestorv1.Deployment](&gestorv1.Deployment{})))
	}
	for _, answer := range f.Servers {
		s.Servers = append(s.Servers, list(l, answer, func() *gestorv1.Server { return &gestorv1.Server{} }))
	}
	if len(f.Check) > 0 {
		s.Check = list(l, []json.RawMessage{f.Check}, func() *gestorv1.CheckServersResponse { return &gestorv1.CheckServersResponse{} })[0]
	}
	return s, l.err
}

type loader struct{ err error }

func list[T proto.Message](l *loader, raws []json.RawMessage, base func() T) []T {
	var all []T
	for _, raw := range raws {
		m, change := base(), base()
		proto.Reset(change)
		if err := protojson.Unmarshal(raw, change); err != nil && l.err == nil {
			l.err = fmt.Errorf("read %s: %w", raw, err)
		}
		replace(m, change)
		all = append(all, m)
	}
	return all
}

// following returns a base that is a copy of what was made of the base before.
func following[T proto.Message](first T) func() T {
	last, calls := first, 0
	return func() T {
		calls++
		if calls%2 == 0 { // the change, which begins empty
			return proto.CloneOf(last)
		}
		last = proto.CloneOf(last)
		return last
	}
}

// replace sets the fields of m that change has.
func replace(m, change proto.Message) {
	to := m.ProtoReflect()
	for field, value := range change.ProtoReflect().Range {
		to.Set(field, value)
	}
}
