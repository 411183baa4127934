// Package sero is the root of the module and has nothing in it but the tests
// of the repository's own rules. The vocabulary for drivers is package
// sdk/driver; docs/architecture.md is the map of the rest.
package sero
