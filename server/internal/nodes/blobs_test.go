package nodes_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	"github.com/saas-gestor/gestor/server/internal/gestor"
	"github.com/saas-gestor/gestor/server/internal/nodes/nodestest"
)

func (s *system) putBlob(node gestor.NodeID, digest string, task gestor.TaskID, fence uint64, data []byte) error {
	s.t.Helper()
	stream, err := nodestest.NewClient(s.t, s.url, node).PutBlob(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	first := &agentv1.PutBlobRequest{Digest: digest, Size: int64(len(data)), TaskId: string(task), Fence: fence}
	for piece := range slices.Chunk(data, 300_000) {
		first.Data = piece
		if err := stream.Send(first); err != nil {
			break // the answer says why
		}
		first = &agentv1.PutBlobRequest{}
	}
	_, err = stream.CloseAndReceive()
	return err
}

func TestBlobs_TravelOnlyForTheTaskThatNamesThem(t *testing.T) {
	s := newSystem(t)
	mine, other := s.AddNode(t, "web-1"), s.AddNode(t, "web-2")
	data := bytes.Repeat([]byte("gestor "), 400_000)
	sum := sha256.Sum256(data)
	digest := hex.EncodeToString(sum[:])
	build := s.lease("tsk_build", gestor.TaskBuild, "", mine, &agentv1.TaskSpec{})
	for name, err := range map[string]error{
		"another node":   s.putBlob(other, digest, "tsk_build", build.Fence, data),
		"another fence":  s.putBlob(mine, digest, "tsk_build", build.Fence+1, data),
		"another digest": s.putBlob(mine, strings.Repeat("0", 64), "tsk_build", build.Fence, data),
	} {
		if err == nil {
			t.Errorf("%s may store", name)
		}
	}
	if err := s.putBlob(mine, digest, "tsk_build", build.Fence, data); err != nil {
		t.Fatal(err)
	}
	spec := &agentv1.TaskSpec{Work: &agentv1.TaskSpec_Prepare{Prepare: &agentv1.PrepareWork{Release: &agentv1.ReleaseSpec{ArtifactDigest: digest}}}}
	prepare := s.lease("tsk_prepare", gestor.TaskPrepare, "", other, spec)
	got, err := s.getBlob(other, digest, "tsk_prepare", prepare.Fence, 7)
	if err != nil || !bytes.Equal(got, data[7:]) {
		t.Fatalf("got %d bytes, %v", len(got), err)
	}
	if _, err := s.getBlob(mine, digest, "tsk_prepare", prepare.Fence, 0); err == nil {
		t.Fatal("another node may read")
	}
	if _, err := s.getBlob(mine, digest, "tsk_build", build.Fence, 0); err == nil {
		t.Fatal("a task that does not name it may read")
	}
}

func (s *system) getBlob(node gestor.NodeID, digest string, task gestor.TaskID, fence uint64, offset int64) ([]byte, error) {
	s.t.Helper()
	stream, err := nodestest.NewClient(s.t, s.url, node).GetBlob(s.t.Context(), &agentv1.GetBlobRequest{
		Digest: digest, TaskId: string(task), Fence: fence, Offset: offset,
	})
	if err != nil {
		return nil, err
	}
	var out []byte
	for stream.Receive() {
		out = append(out, stream.Msg().GetData()...)
	}
	if err := stream.Err(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out, nil
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func TestPutBlob_StoresOneArtifactForATask(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	first, second := []byte("first"), []byte("second")
	build := s.lease("tsk_build", gestor.TaskBuild, "", node, &agentv1.TaskSpec{})
	for _, data := range [][]byte{first, first} { // an answer may get lost
		if err := s.putBlob(node, digestOf(data), "tsk_build", build.Fence, data); err != nil {
			t.Fatal(err)
		}
	}
	err := s.putBlob(node, digestOf(second), "tsk_build", build.Fence, second)
	if err == nil || !strings.Contains(err.Error(), "has stored artifact") {
		t.Fatalf("err = %v", err)
	}
	if _, err := s.blobs.Stat(digestOf(second)); err == nil {
		t.Fatal("a second artifact was stored")
	}
}

func TestPutBlob_TakesOneUploadOfATaskAtATime(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	build := s.lease("tsk_build", gestor.TaskBuild, "", node, &agentv1.TaskSpec{})
	slow, err := nodestest.NewClient(t, s.url, node).PutBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	data, other := []byte("slow"), []byte("other")
	if err := slow.Send(&agentv1.PutBlobRequest{
		Digest: digestOf(data), Size: int64(len(data)), TaskId: "tsk_build", Fence: build.Fence, Data: data[:1],
	}); err != nil {
		t.Fatal(err)
	}
	unproven := strings.Repeat("0", 64) // never stored, so that the task's one artifact is not it
	eventually(t, "the first upload to be under way", func() bool {
		err := s.putBlob(node, unproven, "tsk_build", build.Fence, other)
		return err != nil && strings.Contains(err.Error(), "is under way")
	})
	if err := slow.Send(&agentv1.PutBlobRequest{Data: data[1:]}); err != nil {
		t.Fatal(err)
	}
	if _, err := slow.CloseAndReceive(); err != nil {
		t.Fatal(err)
	}
}

func TestFinished_FailsABuildWhoseArtifactIsNotHere(t *testing.T) {
	s := newSystem(t)
	node := s.AddNode(t, "web-1")
	r := s.raw(node)
	for digest, want := range map[string]gestor.TaskState{
		strings.Repeat("0", 64): gestor.TaskFailed,
		nodestest.Digest:        gestor.TaskSucceeded, // in the store, as after a restart
	} {
		id := gestor.TaskID("tsk_" + digest[:4])
		build := s.lease(id, gestor.TaskBuild, "", node, &agentv1.TaskSpec{})
		m := finished(id, build.Fence, agentv1.Outcome_OUTCOME_SUCCEEDED)
		m.GetFinished().Result = &agentv1.TaskResult{Result: &agentv1.TaskResult_Build{Build: &agentv1.BuildResult{Commit: "abc", ArtifactDigest: digest}}}
		r.say(m)
		eventually(t, "the outcome", func() bool { return s.task(id).State == want || s.task(id).Attempt > 1 || s.task(id).Error != "" })
		if got := s.task(id); want == gestor.TaskSucceeded && got.State != want || want == gestor.TaskFailed && !strings.Contains(got.Error, "never stored") {
			t.Errorf("%s: task is %s, error %q", digest, got.State, got.Error)
		}
	}
}
