package deploy

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/saas-gestor/gestor/agent/internal/release"
	"github.com/saas-gestor/gestor/proto/fault"
	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
	gestorv1 "github.com/saas-gestor/gestor/proto/gen/gestor/v1"
)

func TestDeploy_StaticFilesAreSwitchedByTheLinkAlone(t *testing.T) {
	h := newHost(t)
	h.serving.Shared = []string{"uploads"}
	one, two := h.static("r1", "one"), h.static("r2", "two")
	h.deploy(one)
	h.wants("/", "one")
	h.wants("/sub/page", "page one")
	if code, _ := h.get("/.secret"); code != http.StatusForbidden {
		t.Errorf("a dot file answers %d", code)
	}
	if code, _ := h.get("/nothing"); code != http.StatusNotFound {
		t.Errorf("what is not there answers %d", code)
	}
	upload := filepath.Join(h.o.Root, h.app.GetSlug(), "shared/uploads/u.txt")
	if err := os.WriteFile(upload, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := h.prepare(two); err != nil {
		t.Fatal(err)
	}
	h.wants("/", "one")
	began := time.Now()
	result, err := h.switchTo(two)
	if err != nil || result.GetPrevious() != "r1" {
		t.Fatalf("switch: %v, %v", result, err)
	}
	t.Logf("switched in %s", time.Since(began))
	h.wants("/", "two")
	h.wants("/uploads/u.txt", "kept")
	if want := fmt.Sprintf("http://127.0.0.1:%d", h.serving.GetPort()); result.GetAddresses()[0] != want {
		t.Errorf("addresses are %v", result.GetAddresses())
	}
	if err := h.retire("r2"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(h.o.Root, h.app.GetSlug(), "releases/r1")); !os.IsNotExist(err) {
		t.Errorf("the old release is still there: %v", err)
	}
}

func TestSwitch_GoesBackAndTakesOff(t *testing.T) {
	h := newHost(t)
	one, two := h.node("r1"), h.node("r2")
	h.deploy(one)
	h.wants("/", "r1 hello")
	if err := h.prepare(two); err != nil {
		t.Fatal(err)
	}
	if _, err := h.switchTo(two); err != nil {
		t.Fatal(err)
	}
	h.wants("/", "r2 hello")
	// Also when the old program has gone meanwhile, it is started again.
	if err := h.o.Supervisor.Stop(t.Context(), "gestor-test@r1", time.Second); err != nil {
		t.Fatal(err)
	}
	result, err := h.switchTo(one)
	if err != nil || result.GetPrevious() != "r2" {
		t.Fatalf("switch back: %v, %v", result, err)
	}
	h.wants("/", "r1 hello")
	if _, err := h.switchTo(&agentv1.ReleaseSpec{}); err != nil {
		t.Fatal(err)
	}
	if code, _ := h.get("/"); code != 0 {
		t.Errorf("the app still answers %d", code)
	}
	if err := h.remove(true); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(h.o.Root, h.app.GetSlug())); !os.IsNotExist(err) {
		t.Errorf("the directory is still there: %v", err)
	}
	if left := h.running(); len(left) != 0 {
		t.Errorf("%s still run", left)
	}
}

func TestRemove_ForgetsWhatBuildsKeepWhetherOrNotDataIsPurged(t *testing.T) {
	for _, purge := range []bool{false, true} {
		h := newHost(t)
		if err := h.remove(purge); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(h.builds.forgotten, []string{h.app.GetId()}) {
			t.Errorf("purge %v: forgotten are %v", purge, h.builds.forgotten)
		}
	}
}

func TestRemove_FailsWhenWhatBuildsKeepStays(t *testing.T) {
	h := newHost(t)
	h.builds.err = errors.New("the disk is broken")
	if err := h.remove(false); !errors.Is(err, h.builds.err) {
		t.Errorf("got %v", err)
	}
}

func TestSwitch_TellsThePreviousReleaseAgainAfterItWasCutOff(t *testing.T) {
	h := newHost(t)
	one, two := h.static("r1", "one"), h.static("r2", "two")
	h.deploy(one)
	if err := h.prepare(two); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		result, err := h.switchTo(two)
		if err != nil || result.GetPrevious() != "r1" {
			t.Errorf("previous is %q, %v", result.GetPrevious(), err)
		}
		h.fence-- // the same task again
	}
}

func TestSwitch_RefusesAFenceBelowOneSeen(t *testing.T) {
	h := newHost(t)
	one, two := h.static("r1", "one"), h.static("r2", "two")
	h.deploy(one)
	if err := h.prepare(two); err != nil {
		t.Fatal(err)
	}
	h.fence = 0
	if _, err := h.switchTo(two); fault.KindOf(err) != fault.KindConflict {
		t.Errorf("got %v, want a conflict", err)
	}
	h.wants("/", "one")
}

func TestPrepare_NeverHealthyLeavesTheOldReleaseAlone(t *testing.T) {
	h := newHost(t)
	h.deploy(h.node("r1"))
	for name, program := range map[string]string{
		"ends":   `console.log('cannot find the database'); process.exit(3)`,
		"silent": `console.log('cannot find the database'); setInterval(() => {}, 1000)`,
		"500":    strings.Replace(nodeServer, "r.end(", "r.writeHead(500) && r.end(", 1) + `; console.log('cannot find the database')`,
	} {
		t.Run(name, func(t *testing.T) {
			h.serving.HealthTimeout = durationpb.New(2 * time.Second)
			bad := h.release("bad-"+name, gestorv1.AppKind_APP_KIND_PROCESS, map[string]string{"server.js": program})
			err := h.prepare(bad)
			if fault.KindOf(err) != fault.KindConflict || !strings.Contains(err.Error(), "cannot find the database") {
				t.Errorf("got %v", err)
			}
			if got := h.running(); !slices.Equal(got, []string{"gestor-test@r1"}) {
				t.Errorf("running are %s", got)
			}
			h.wants("/", "r1 hello")
		})
	}
}

func TestPrepare_RefusesADamagedArtifactAndHostileNames(t *testing.T) {
	h := newHost(t)
	damaged := h.static("r1", "one")
	good := damaged.GetArtifactDigest()
	damaged.ArtifactDigest = strings.Repeat("0", 64)
	h.artifacts[damaged.GetArtifactDigest()] = h.artifacts[good]
	if err := h.prepare(damaged); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"", "..", "../x", "a/b", "current", ".hidden", "a\nb"} {
		r := h.static("x", "x")
		r.Name = name
		if err := h.prepare(r); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("release %q: got %v, want invalid", name, err)
		}
	}
	for _, shared := range []string{"../x", "/etc", "a/../../b", ".", "logs", "logs/a", "uploads/a", "a b", "a:b", ""} {
		h.serving.Shared = []string{shared}
		if err := h.prepare(h.static("y", "y")); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("shared %q: got %v, want invalid", shared, err)
		}
	}
}

func TestPrepare_TellsThatThereIsNoSpace(t *testing.T) {
	h := newHost(t)
	r := h.static("r1", "one")
	r.UnpackedBytes = 1 << 60
	if err := h.prepare(r); fault.KindOf(err) != fault.KindExhausted || !strings.Contains(err.Error(), "free") {
		t.Errorf("got %v", err)
	}
}

func TestHooks_RunConfinedAndFailTheTask(t *testing.T) {
	h := newHost(t)
	h.deploy(h.static("r1", "one"))
	two := h.static("r2", "two")
	other := filepath.Join(h.o.Root, "other")
	if err := os.Mkdir(other, 0o777); err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		"cat index.html && test \"$GREETING\" = hello": "",
		"echo x > index.html":                          "exit code",
		"ls " + other:                                  "exit code",
		"kill -9 $$":                                   "signal",
	} {
		_, err := h.do("prepare", func(s *agentv1.TaskSpec) {
			s.Work = &agentv1.TaskSpec_Prepare{Prepare: &agentv1.PrepareWork{App: h.app, Release: two, Serving: h.serving, PreSwitch: command}}
		})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", command, err, want)
		}
	}
	_, err := h.do("switch", func(s *agentv1.TaskSpec) {
		s.Work = &agentv1.TaskSpec_Switch{Switch: &agentv1.SwitchWork{App: h.app, Release: two, Serving: h.serving, PostSwitch: "exit 9"}}
	})
	if err == nil || !strings.Contains(err.Error(), "post_switch command ended with exit code 9") {
		t.Errorf("got %v", err)
	}
}

func TestWatch_FailsWhenTheProgramEnds(t *testing.T) {
	h := newHost(t)
	r := h.release("r1", gestorv1.AppKind_APP_KIND_PROCESS, map[string]string{
		"server.js": nodeServer + "setTimeout(() => { console.log('out of cheese'); process.exit(4) }, 1500)",
	})
	if err := h.prepare(r); err != nil {
		t.Fatal(err)
	}
	if _, err := h.switchTo(r); err != nil {
		t.Fatal(err)
	}
	if err := h.watch(r, 10*time.Second); err == nil || !strings.Contains(err.Error(), "out of cheese") {
		t.Errorf("got %v", err)
	}
}

func TestSwitch_NamesTheProgramThatHasThePort(t *testing.T) {
	h := newHost(t)
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", h.serving.GetPort()))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	r := h.static("r1", "one")
	if err := h.prepare(r); err != nil {
		t.Fatal(err)
	}
	if _, err := h.switchTo(r); fault.KindOf(err) != fault.KindConflict || !strings.Contains(err.Error(), "in use by deploy.test") {
		t.Errorf("got %v", err)
	}
	dir, err := release.Open(h.o.Root, appOf(h.app))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if current, err := dir.Current(); err != nil || current != "" {
		t.Errorf("current is %q, %v", current, err)
	}
}

func TestDeploy_LosesNoRequest(t *testing.T) {
	h := newHost(t)
	h.deploy(h.node("r0"))
	url := fmt.Sprintf("http://127.0.0.1:%d/", h.serving.GetPort())
	var sent, failed atomic.Int64
	stop := make(chan struct{})
	var load sync.WaitGroup
	for _, keepAlive := range []bool{true, false} {
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 50}}
		load.Go(func() {
			var requests sync.WaitGroup
			defer requests.Wait()
			tick := time.NewTicker(10 * time.Millisecond) // 100 a second each
			defer tick.Stop()
			for {
				select {
				case <-stop:
					return
				case <-tick.C:
				}
				requests.Go(func() {
					sent.Add(1)
					res, err := client.Get(url)
					if err != nil || res.StatusCode != http.StatusOK {
						failed.Add(1)
						t.Logf("request: %v, %v", res, err)
					}
					if err == nil {
						_ = res.Body.Close()
					}
				})
			}
		})
	}
	for i := range 8 {
		h.deploy(h.node(fmt.Sprintf("r%d", i+1)))
	}
	close(stop)
	load.Wait()
	t.Logf("%d requests, %d failed", sent.Load(), failed.Load())
	if failed.Load() > 0 || sent.Load() < 200 {
		t.Errorf("%d of %d requests failed", failed.Load(), sent.Load())
	}
	if got := h.running(); !slices.Equal(got, []string{"gestor-test@r8"}) {
		t.Errorf("running are %s", got)
	}
}
