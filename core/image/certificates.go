package image

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// MachineCertificates are the directories where systems keep the authorities that their owner
// added to the public ones. Behind a company's proxy nothing can be fetched in a
// sandbox that does not trust them too.
var MachineCertificates = []string{
	"/usr/local/share/ca-certificates",          // Debian and its kin
	"/etc/pki/ca-trust/source/anchors",          // Red Hat and its kin
	"/etc/ca-certificates/trust-source/anchors", // Arch
	"/usr/share/pki/trust/anchors",              // SUSE
}

// mostCertificates bounds what is copied.
const mostCertificates = 100

// copyCertificates copies the certificates of some directories, and nothing but
// certificates: a file with a key in it is left out.
func copyCertificates(to string, from []string) error {
	n := 0
	for _, dir := range from {
		for _, pattern := range []string{"*.crt", "*.pem", "*/*.crt"} {
			files, err := filepath.Glob(filepath.Join(dir, pattern))
			if err != nil {
				return err
			}
			for _, file := range files {
				text := certificatesIn(file)
				if len(text) == 0 || n == mostCertificates {
					continue
				}
				n++
				name := strings.TrimSuffix(filepath.Base(file), filepath.Ext(file))
				if err := os.WriteFile(filepath.Join(to, fmt.Sprintf("%02d-%s.crt", n, name)), text, 0o644); err != nil { //nolint:gosec // certificates are public
					return err
				}
			}
		}
	}
	return nil
}

// certificatesIn are the certificates in a file, without anything else in it.
func certificatesIn(file string) []byte {
	const most = 1 << 20
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	var out bytes.Buffer
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			_ = pem.Encode(&out, &pem.Block{Type: block.Type, Bytes: block.Bytes}) // to a buffer
		}
	}
	return out.Bytes()
}
