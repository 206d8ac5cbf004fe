package dotenv_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/saas-gestor/gestor/cli/internal/dotenv"
)

func TestParse_ReadsWhatEnvFilesHold(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want map[string]string
	}{
		"plain":              {"A=1\nB = two \n", map[string]string{"A": "1", "B": "two"}},
		"export and comment": {"# c\nexport A=1 # why\n\nB=a#b", map[string]string{"A": "1", "B": "a#b"}},
		"empty":              {"A=\nB=''\nC=# nothing", map[string]string{"A": "", "B": "", "C": ""}},
		"single quotes":      {`A='x\n$HOME "q"'`, map[string]string{"A": `x\n$HOME "q"`}},
		"double quotes":      {`A="x\n\"q\" \$HOME \d"`, map[string]string{"A": "x\n\"q\" $HOME \\d"}},
		"several lines":      {"A=\"-----BEGIN\nabc\n-----END\"\nB=1", map[string]string{"A": "-----BEGIN\nabc\n-----END", "B": "1"}},
		"windows":            {"\ufeffA=1\r\nB=2\r\n", map[string]string{"A": "1", "B": "2"}},
		"equals in value":    {"A=x=y==", map[string]string{"A": "x=y=="}},
		"last one counts":    {"A=1\nA=2", map[string]string{"A": "2"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := dotenv.Parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestParse_NamesTheLineAndNotTheSecret(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"no equals":      {"A=1\nhunter2", "line 2"},
		"bad name":       {"1A=hunter2", "line 1"},
		"open quote":     {"\n\nA=\"hunter2", "line 3"},
		"after a quote":  {"A='x\ny'\nB='hunter2' hunter2", "line 3"},
		"name with dash": {"MY-KEY=hunter2", "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dotenv.Parse(c.in)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzParse_Ends(f *testing.F) {
	f.Add("A=\"x\\")
	f.Add("A='")
	f.Fuzz(func(_ *testing.T, s string) { _, _ = dotenv.Parse(s) })
}
