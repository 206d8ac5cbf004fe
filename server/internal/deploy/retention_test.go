package deploy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
	"github.com/saas-gestor/gestor/server/internal/deploy"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func TestRetention_KeepsArtifactsThatMayStillBeDeployed(t *testing.T) {
	s := newSystem(t)
	s.run(s.deploy.RunTerm)
	hist, blobs := s.hist, s.blobs
	var digests []string
	sc := &script{}
	sc.set("build", func(context.Context, nodestest.Job) *agentv1.TaskFinished {
		data := bytes.Repeat([]byte("x"), len(digests)+1)
		sum := sha256.Sum256(data)
		digest := hex.EncodeToString(sum[:])
		if err := blobs.Put(context.Background(), digest, int64(len(data)), bytes.NewReader(data)); err != nil {
			return nodestest.Failed(err.Error())
		}
		digests = append(digests, digest)
		return nodestest.Done(&agentv1.TaskResult{Result: &agentv1.TaskResult_Build{Build: &agentv1.BuildResult{
			Commit: "abc", ArtifactDigest: digest, ArtifactBytes: int64(len(data)), Kind: gestorv1.AppKind_APP_KIND_STATIC,
		}}})
	})
	a, _ := s.agent("web-1", sc)
	app := s.AddApp(t, "shop", gestor.AppSettings{Keep: 1}, a.Node)
	const deployments = 9
	for range deployments {
		s.await(s.create(app).ID, gestor.DeploymentSucceeded)
	}
	s.settled(app)
	tidy := func(young time.Duration) {
		t.Helper()
		r := deploy.NewRetention(deploy.RetentionOptions{Engine: s.Engine, History: hist, Blobs: blobs, Young: young})
		if err := r.Tidy(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	there := func(i int) bool {
		_, err := blobs.Stat(digests[i])
		return !errors.Is(err, fault.KindNotFound)
	}
	tidy(time.Hour)
	if !there(0) {
		t.Fatal("a young artifact was removed")
	}
	tidy(time.Nanosecond)
	for i := range digests {
		if recent := i >= deployments-5; there(i) != recent { // five builds; the kept releases are among them
			t.Errorf("artifact %d of %d: there %v, want %v", i, deployments, there(i), recent)
		}
	}
}

// behind is an engine that cannot find out whether it is up to date.
type behind struct{ deploy.CurrentEngine }

func (behind) Barrier(context.Context) error { return fault.Unavailable("no control server leads") }

func TestRetention_RemovesNoArtifactBeforeItsStateIsUpToDate(t *testing.T) {
	s := newSystem(t)
	data := []byte("x")
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	if err := s.blobs.Put(t.Context(), digest, 1, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	tidy := func(e deploy.CurrentEngine) error {
		return deploy.NewRetention(deploy.RetentionOptions{Engine: e, History: s.hist, Blobs: s.blobs, Young: time.Nanosecond}).Tidy(t.Context())
	}
	if err := tidy(behind{s.Engine}); !errors.Is(err, fault.KindUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := s.blobs.Stat(digest); err != nil {
		t.Errorf("an artifact was removed by a state that may be old: %v", err)
	}
	if err := tidy(s.Engine); err != nil {
		t.Fatal(err)
	}
	if _, err := s.blobs.Stat(digest); !errors.Is(err, fault.KindNotFound) {
		t.Errorf("nobody needs it, and it is there: %v", err)
	}
}
