// Package durable writes files so that they survive a kill and a power cut, and
// knows what a failed sync means: one file ([WriteFile]), many ([Syncer]), and
// the lock that keeps two writers apart ([Lock]).
package durable
