package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/saas-gestor/gestor/server/internal/oidc"
	"github.com/saas-gestor/gestor/server/internal/web"
)

// elsewhere counts who is sent there.
type elsewhere struct{ begun int }

func (*elsewhere) Offered(*http.Request) bool { return true }

func (e *elsewhere) Begin(*http.Request, string, string) (oidc.Start, error) {
	e.begun++
	return oidc.Start{URL: "https://idp.example/authorize", Host: "idp.example", Cookie: &http.Cookie{Name: oidc.CookieName, Value: "x"}}, nil
}

func (*elsewhere) Complete(*http.Request) (oidc.Result, error) { return oidc.Result{}, nil }

// A page of somebody else's could send its reader through the provider of a tenant of theirs, and have them signed in there
// as somebody they do not know they are.
func TestElsewhere_IsBegunByNoOtherPage(t *testing.T) {
	for site, want := range map[string]int{"cross-site": 0, "same-site": 0, "same-origin": 1, "none": 1, "": 1} {
		e := &elsewhere{}
		w, err := web.New(web.Options{API: http.NotFoundHandler(), Providers: e})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://ctl.example/oidc/start?email=eve%40evil.example", nil)
		if site != "" {
			r.Header.Set("Sec-Fetch-Site", site)
		}
		out := httptest.NewRecorder()
		w.ServeHTTP(out, r)
		if e.begun != want || (out.Header().Get("Refresh") != "") != (want == 1) || (len(out.Result().Cookies()) > 0) != (want == 1) {
			t.Errorf("from %q: began %d, %v", site, e.begun, out.Header())
		}
	}
}
