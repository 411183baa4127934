package image

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// MachineCertificates are where systems keep the authorities that their owner
// added to the public ones, directories and then files. Behind a company's proxy
// nothing can be fetched in a sandbox that does not trust them too. The files are
// those that programs are told to trust; they hold the public ones as well, and
// so count only where the directories have nothing.
func MachineCertificates() []string {
	places := []string{
		"/usr/local/share/ca-certificates",          // Debian and its kin
		"/etc/pki/ca-trust/source/anchors",          // Red Hat and its kin
		"/etc/ca-certificates/trust-source/anchors", // Arch
		"/usr/share/pki/trust/anchors",              // SUSE
	}
	for _, name := range []string{"NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"} {
		if file := os.Getenv(name); file != "" {
			places = append(places, file)
		}
	}
	return places
}

// mostCertificates bounds what is copied.
const mostCertificates = 100

// copyCertificates copies the certificates of some directories or, if they have
// none, those of the first file that has. Nothing but certificates is copied: a
// key beside one stays.
func copyCertificates(to string, from []string) error {
	n := 0
	for _, place := range from {
		files := []string{place}
		if info, err := os.Stat(place); err == nil && info.IsDir() {
			files = nil
			for _, pattern := range []string{"*.crt", "*.pem", "*/*.crt"} {
				found, err := filepath.Glob(filepath.Join(place, pattern))
				if err != nil {
					return err
				}
				files = append(files, found...)
			}
		} else if n > 0 {
			continue
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
