//go:build race

package aptmethod

// raceDetector takes memory of its own.
const raceDetector = true
