package gestor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/gestor"
)

func TestCheckEnvName_RefusesNamesThatChangeHowProgramsStart(t *testing.T) {
	checkTable(t, gestor.CheckEnvName,
		[]string{"A", "_x", "DATABASE_URL", "NODE_OPTIONS", "Path", "port", strings.Repeat("A", 128)},
		append([]string{
			"", "1A", "A-B", "A.B", "A=B", "É", strings.Repeat("A", 129),
			"PATH", "PORT", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "ENV", "SHELLOPTS", "IFS", "GESTOR_RELEASE", "NOTIFY_SOCKET",
		}, hostile...))
}

func TestCheckEnvName_SaysWhyAReservedNameCannotBeSet(t *testing.T) {
	for name, why := range map[string]string{"PORT": "port of its own", "LD_PRELOAD": "loader", "GESTOR_X": "Gestor sets", "BASH_ENV": "shells run"} {
		if err := gestor.CheckEnvName("f", name); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want a reason with %q", name, err, why)
		}
	}
}

func TestCheckEnvValue_TakesAnyTextButKeepsItOutOfMessages(t *testing.T) {
	for _, good := range []string{"", "a b", "line 1\nline 2", `"quoted" $x`, strings.Repeat("x", 32<<10), "é"} {
		if err := gestor.CheckEnvValue("f", good); err != nil {
			t.Errorf("%.20q is refused: %v", good, err)
		}
	}
	for _, bad := range []string{"hunter22\x00", "hunter22\xff", "hunter22" + strings.Repeat("x", 32<<10)} {
		err := gestor.CheckEnvValue("f", bad)
		wantInvalid(t, err, "f")
		if strings.Contains(err.Error(), "hunter22") {
			t.Errorf("the value is in the message: %v", err)
		}
	}
}

func TestCheckEnv_NamesTheVariableThatIsWrong(t *testing.T) {
	if err := gestor.CheckEnv(map[string]string{"A": "1"}, []string{"B", "PATH"}); err != nil {
		t.Fatal(err)
	}
	wantInvalid(t, gestor.CheckEnv(map[string]string{"A": "1", "LD_PRELOAD": "x"}, nil), "set[LD_PRELOAD]")
	wantInvalid(t, gestor.CheckEnv(map[string]string{"A": "\x00"}, nil), "set[A]")
	wantInvalid(t, gestor.CheckEnv(nil, []string{"A", "a b"}), "unset[1]")
	wantInvalid(t, gestor.CheckEnv(map[string]string{"A": "1"}, []string{"A"}), "unset[0]")
}

func TestCheckEnv_BoundsTheWhole(t *testing.T) {
	many := make(map[string]string)
	for i := range 501 {
		many[fmt.Sprintf("V%d", i)] = ""
	}
	wantInvalid(t, gestor.CheckEnv(many, nil), "set")
	big := make(map[string]string)
	for i := range 17 {
		big[fmt.Sprintf("V%d", i)] = strings.Repeat("x", 32<<10)
	}
	wantInvalid(t, gestor.CheckEnv(big, nil), "set")
}
