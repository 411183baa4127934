// Package schema holds the published JSON Schema of sero.json, for editors and
// for tests that keep it in step with package config.
package schema

import _ "embed"

// Sero is the JSON Schema of sero.json.
//
//go:embed sero.schema.json
var Sero []byte
