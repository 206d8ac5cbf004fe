package leaktest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestSearch_FindsEveryFormItClaimsToAlsoInsideWhatIsCompressed(t *testing.T) {
	const secret = `hunter2 "ä" &=/+?<\ the secret`
	quoted, err := json.Marshal(map[string]string{"a": secret})
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := z.EncodeAll([]byte("before "+secret+" after, and more that can be packed, packed and packed again, packed"), []byte("a header "))
	planted := map[string][]byte{
		"plain": []byte("x" + secret + "y"), "json": quoted, "hex": []byte(hex.EncodeToString([]byte("ab" + secret + "c"))),
		"query": []byte("?a=" + url.QueryEscape(secret)), "packed": packed,
	}
	for _, before := range []string{"", "1", "12", "123", "1234"} {
		for _, after := range []string{"", "1", "12"} {
			planted["base64 "+before+" "+after] = []byte(base64.StdEncoding.EncodeToString([]byte(before + secret + after)))
			planted["base64url "+before+" "+after] = []byte(base64.RawURLEncoding.EncodeToString([]byte(before + secret + after)))
		}
	}
	for name, data := range planted {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		found, err := Search([]string{dir}, nil, map[string]string{"it": secret})
		if err != nil || len(found) == 0 {
			t.Errorf("%s: not found, %v", name, err)
		}
	}
	if found, err := Search(nil, map[string][]byte{"text": []byte("hunter3, and nothing else")}, map[string]string{"it": secret}); len(found) > 0 || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
}
