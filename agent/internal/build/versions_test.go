package build

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "github.com/saas-gestor/gestor/proto/gen/gestor/agent/v1"
)

func TestBuild_TakesTheVersionOfNodeThatTheProjectNames(t *testing.T) {
	const version = "21.99.0"
	for name, files := range map[string]map[string]string{
		"nvmrc":        {"package.json": `{}`, ".nvmrc": "v" + version + "\n"},
		"node-version": {"package.json": `{}`, ".node-version": version},
		"engines":      {"package.json": `{"engines":{"node":">=21.99 <21.100"}}`, ".nvmrc": "99"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			bin := r.installNode(t, version)
			files["server.js"] = ""
			built, out, err := r.build(t, &agentv1.BuildWork{
				Source: &agentv1.Source{Repository: r.repo(t, files)}, BuildCommand: "node -p process.execPath > made.txt",
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			b, _ := os.ReadFile(filepath.Join(r.unpack(t, built.ArtifactDigest), "made.txt"))
			if strings.TrimSpace(string(b)) != filepath.Join(bin, "node") || built.GetRuntime().GetVersion() != version {
				t.Errorf("built with %q, to be run with %v\n%s", b, built.GetRuntime(), out)
			}
		})
	}
}

// installNode puts the node of this host where one that was installed from the registry would be.
func (r *rig) installNode(t *testing.T, version string) (bin string) {
	t.Helper()
	own, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(own)
	if err != nil {
		t.Fatal(err)
	}
	bin = filepath.Join(r.dir, "runtimes/node", version, "bin")
	if err := errors.Join(os.MkdirAll(bin, 0o755), os.WriteFile(filepath.Join(bin, "node"), program, 0o755)); err != nil {
		t.Fatal(err)
	}
	return bin
}

func TestBuild_SaysWhichFileAsksForAVersionOfNodeThatIsNotThere(t *testing.T) {
	tests := map[string]struct {
		files     map[string]string
		log, want string
	}{
		"nvmrc none":      {map[string]string{".nvmrc": "99\n", "package.json": `{}`}, `.nvmrc asks for node "99"`, `the npm registry has no node 99; ask for`},
		"engines none":    {map[string]string{"package.json": `{"engines":{"node":">=99 <100"}}`}, `engines in package.json asks for node ">=99 <100"`, `the npm registry has no node >=99 <100`},
		"engines strange": {map[string]string{"package.json": `{"engines":{"node":"banana"}}`}, `engines in package.json asks for node "banana"`, `runtime: "banana" is not a range`},
		"nvmrc strange":   {map[string]string{".nvmrc": "$(id)\n", "package.json": `{}`}, `.nvmrc asks for node "$(id)"`, `runtime: "$(id)" is not a range of versions; write it like`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			test.files["server.js"] = ""
			_, out, err := r.build(t, &agentv1.BuildWork{Source: &agentv1.Source{Repository: r.repo(t, test.files)}})
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(out.String(), test.log) {
				t.Errorf("got %v\n%s", err, out)
			}
		})
	}
}
