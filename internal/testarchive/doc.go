// Package testarchive makes signed Debian archives as values, good and
// hostile ones, serves them with faults, and runs registries that are stricter
// than real ones. It shares no code with what it tests. Tests only.
package testarchive
