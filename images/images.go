// Package images carries what sero's own images are built from, so that the
// binary alone can build them.
package images

import (
	"embed"
	"io/fs"
)

//go:embed sero-node
var files embed.FS

// SeroNode is the build context of sero-node: its Dockerfile, and the directory
// certificates for *.crt files that the image is to trust.
func SeroNode() fs.FS {
	sub, err := fs.Sub(files, "sero-node")
	if err != nil {
		panic(err) // the name is a constant
	}
	return sub
}
