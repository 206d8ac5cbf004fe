// Package leaktest searches everything a server leaves behind for secrets in clear, in the forms in which they slip out: as
// they are, base64 at any offset, hex, and escaped for URLs and JSON; also inside what is compressed.
package leaktest

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// forms are the ways a secret may be written, by name.
func forms(secret string) map[string][]byte {
	out := map[string][]byte{
		"as it is":     []byte(secret),
		"hex":          []byte(hex.EncodeToString([]byte(secret))),
		"HEX":          bytes.ToUpper([]byte(hex.EncodeToString([]byte(secret)))),
		"query escape": []byte(url.QueryEscape(secret)),
		"path escape":  []byte(url.PathEscape(secret)),
	}
	if text, err := json.Marshal(secret); err == nil {
		out["JSON"] = text[1 : len(text)-1]
	}
	out["quoted"] = fmt.Appendf(nil, "%q", secret)[1:]
	out["quoted"] = out["quoted"][:len(out["quoted"])-1]
	for offset := range 3 {
		for name, e := range map[string]*base64.Encoding{"base64": base64.RawStdEncoding, "base64url": base64.RawURLEncoding} {
			out[fmt.Sprintf("%s at %d", name, offset)] = shifted(e, secret, offset)
		}
	}
	return out
}

// shifted is what stays the same of a secret's base64 wherever it lies in a longer text, at an offset from a group of three.
func shifted(e *base64.Encoding, secret string, offset int) []byte {
	padded := append(make([]byte, offset), secret...)
	text := e.EncodeToString(padded)
	begin := []int{0, 2, 3}[offset]                    // the characters that hold bits of what comes before
	end := len(text) - []int{0, 2, 1}[len(padded)%3%3] // and of what comes after
	return []byte(text[begin:max(begin, end)])
}

// Search looks for secrets, by name, in the files below dirs and in texts, by name. skip leaves out files by their base
// name. It returns where it found which, in which form.
func Search(dirs []string, texts map[string][]byte, secrets map[string]string, skip ...string) ([]string, error) {
	var found []string
	look := func(where string, data []byte) {
		for name, secret := range secrets {
			for form, text := range forms(secret) {
				if bytes.Contains(data, text) {
					found = append(found, fmt.Sprintf("%s in %s, %s", name, where, form))
				}
			}
		}
	}
	for where, data := range texts {
		look(where, data)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || slices.Contains(skip, d.Name()) {
				return err
			}
			data, err := os.ReadFile(path) //nolint:gosec // the test's own directories
			if err != nil {
				return err
			}
			look(path, data)
			for i, inner := range unpacked(data) {
				look(fmt.Sprintf("%s, unpacked part %d", path, i+1), inner)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(found)
	return slices.Compact(found), nil
}

// magic begins a frame of zstd.
var magic = []byte{0x28, 0xb5, 0x2f, 0xfd} //nolint:gochecknoglobals // never changed

// unpacked is what is in the compressed frames of a file, as far as they can be read.
func unpacked(data []byte) [][]byte {
	var out [][]byte
	for {
		at := bytes.Index(data, magic)
		if at < 0 {
			return out
		}
		data = data[at:]
		if z, err := zstd.NewReader(bytes.NewReader(data), zstd.WithDecoderConcurrency(1)); err == nil {
			inner, _ := io.ReadAll(z) // what comes after the frame is no frame
			z.Close()
			if len(inner) > 0 {
				out = append(out, inner)
			}
		}
		data = data[len(magic):]
	}
}
