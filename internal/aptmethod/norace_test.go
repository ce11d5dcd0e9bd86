//go:build !race

package aptmethod

const raceDetector = false
