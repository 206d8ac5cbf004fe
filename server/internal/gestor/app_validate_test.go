package gestor_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func goodSettings() gestor.AppSettings {
	return gestor.AppSettings{
		Name: "Shop", Repository: "https://git.example/shop.git", Branch: "main", Type: gestor.TypeNode, Environment: "staging",
		Domains: []string{"shop.example", "*.shop.example"}, Port: 8080, Root: "apps/shop", BuildCommand: "npm run build && npm prune",
		StartCommand: `node server.js --name "$NAME"`, HealthPath: "/up", HealthTimeout: time.Minute, Drain: time.Second,
		Nodes: []gestor.NodeID{"nod_1", "nod_2"}, Keep: 3, Shared: []string{"uploads"}, Limits: gestor.Limits{MemoryBytes: 256 << 20, CPUs: 1.5},
	}
}

func TestAppSettings_ValidateTakesGoodOnes(t *testing.T) {
	if err := goodSettings().Validate("settings"); err != nil {
		t.Fatal(err)
	}
	if err := (gestor.AppSettings{Repository: "/srv/git/x"}).WithDefaults().Validate("settings"); err != nil {
		t.Fatalf("the defaults are refused: %v", err)
	}
}

func TestAppSettings_ValidateNamesTheFieldThatIsWrong(t *testing.T) {
	long := time.Hour * 2
	negative := -time.Second
	for field, change := range map[string]func(*gestor.AppSettings){
		"name":                      func(s *gestor.AppSettings) { s.Name = "a\x1b[2Jb" },
		"repository":                func(s *gestor.AppSettings) { s.Repository = "ext::sh -c id" },
		"branch":                    func(s *gestor.AppSettings) { s.Branch = "--upload-pack=id" },
		"type":                      func(s *gestor.AppSettings) { s.Type = "perl" },
		"environment":               func(s *gestor.AppSettings) { s.Environment = "prod" },
		"domains[1]":                func(s *gestor.AppSettings) { s.Domains[1] = "a;b" },
		"domains":                   func(s *gestor.AppSettings) { s.Domains = make([]string, 51) },
		"port":                      func(s *gestor.AppSettings) { s.Port = 70000 },
		"root":                      func(s *gestor.AppSettings) { s.Root = "../x" },
		"output":                    func(s *gestor.AppSettings) { s.Output = "/etc" },
		"build_command":             func(s *gestor.AppSettings) { s.BuildCommand = "a\nb" },
		"start_command":             func(s *gestor.AppSettings) { s.StartCommand = "a\x00b" },
		"pre_switch":                func(s *gestor.AppSettings) { s.PreSwitch = "-c id" },
		"post_switch":               func(s *gestor.AppSettings) { s.PostSwitch = strings.Repeat("x", 4001) },
		"health_path":               func(s *gestor.AppSettings) { s.HealthPath = "/a b" },
		"health_timeout":            func(s *gestor.AppSettings) { s.HealthTimeout = 11 * time.Minute },
		"watch":                     func(s *gestor.AppSettings) { s.Watch = &long },
		"drain":                     func(s *gestor.AppSettings) { s.Drain = negative },
		"nodes[1]":                  func(s *gestor.AppSettings) { s.Nodes[1] = s.Nodes[0] },
		"nodes":                     func(s *gestor.AppSettings) { s.Nodes = make([]gestor.NodeID, 101) },
		"keep":                      func(s *gestor.AppSettings) { s.Keep = -1 },
		"shared[0]":                 func(s *gestor.AppSettings) { s.Shared[0] = "../up" },
		"known_hosts":               func(s *gestor.AppSettings) { s.KnownHosts = "x" },
		"limits.cpus":               func(s *gestor.AppSettings) { s.Limits.CPUs = math.NaN() },
		"limits.memory_bytes":       func(s *gestor.AppSettings) { s.Limits.MemoryBytes = 1000 },
		"limits.processes":          func(s *gestor.AppSettings) { s.Limits.Processes = -1 },
		"build_limits.disk_bytes":   func(s *gestor.AppSettings) { s.BuildLimits.DiskBytes = math.MaxUint64 },
		"build_limits.time":         func(s *gestor.AppSettings) { s.BuildLimits.Time = 25 * time.Hour },
		"build_limits.memory_bytes": func(s *gestor.AppSettings) { s.BuildLimits.MemoryBytes = math.MaxUint64 },
	} {
		t.Run(field, func(t *testing.T) {
			s := goodSettings()
			change(&s)
			wantInvalid(t, s.Validate("settings"), "settings."+field)
		})
	}
}

func TestAppSettings_ValidateRefusesAStartCommandForStaticApps(t *testing.T) {
	s := goodSettings()
	s.Type = gestor.TypeStatic
	wantInvalid(t, s.Validate("settings"), "settings.start_command")
}

func TestAppSettings_NormalizeTidiesWithoutChangingWhatIsMeant(t *testing.T) {
	s := goodSettings()
	s.Name, s.Repository, s.Branch = " Shop ", "https://git.example/shop.git ", "main\t"
	s.Domains = []string{" Shop.Example. ", "*.SHOP.example"}
	s.Root, s.Output, s.Shared = "./", "dist/", []string{"./uploads/"}
	s.KnownHosts = "# a\r\n# b\r\n"
	before := s.Domains[0]
	n := s.Normalize()
	if n.Name != "Shop" || n.Repository != "https://git.example/shop.git" || n.Branch != "main" || n.Root != "" || n.Output != "dist" || n.KnownHosts != "# a\n# b\n" {
		t.Errorf("got %+v", n)
	}
	if !reflect.DeepEqual(n.Domains, []string{"shop.example", "*.shop.example"}) || !reflect.DeepEqual(n.Shared, []string{"uploads"}) {
		t.Errorf("got %v and %v", n.Domains, n.Shared)
	}
	if s.Domains[0] != before {
		t.Error("Normalize changed the settings it was given")
	}
	if again := n.Normalize(); !reflect.DeepEqual(again, n) {
		t.Errorf("normalising twice gives %+v", again)
	}
}

func TestAppSettings_NormalizeMakesNoWrongValueRight(t *testing.T) {
	for _, p := range []string{"a/../b", "/etc", "../x", "a\n"} {
		s := goodSettings()
		s.Root = p
		if s.Normalize().Validate("settings") == nil {
			t.Errorf("root %q passes", p)
		}
	}
}

func TestAppSettings_WithDefaultsFillsOnlyWhatIsMissing(t *testing.T) {
	d := gestor.AppSettings{}.WithDefaults()
	if d.Environment != "production" || d.HealthPath != "/" || d.HealthTimeout != time.Minute || d.Drain != 30*time.Second || d.Keep != 5 {
		t.Errorf("got %+v", d)
	}
	if s := goodSettings(); !reflect.DeepEqual(s.WithDefaults(), s) {
		t.Errorf("defaults changed %+v", s.WithDefaults())
	}
}

func TestAppSettings_WatchOrKnowsTheKindsDefault(t *testing.T) {
	none := time.Duration(0)
	if got := (gestor.AppSettings{}).WatchOr(gestor.KindProcess); got != 10*time.Second {
		t.Errorf("a program is watched for %s", got)
	}
	if got := (gestor.AppSettings{}).WatchOr(gestor.KindStatic); got != 0 {
		t.Errorf("files are watched for %s", got)
	}
	if got := (gestor.AppSettings{Watch: &none}).WatchOr(gestor.KindProcess); got != 0 {
		t.Errorf("an explicit zero gives %s", got)
	}
}
