// The program that makes the manual pages of the Markdown here: scripts/release.sh runs it.
// It is a module of its own: nothing of this is needed to build mmoci.
module example.org/mmoci/artifacts/docs/man

go 1.26.0

tool github.com/cpuguy83/go-md2man/v2

require (
	github.com/cpuguy83/go-md2man/v2 v2.0.7 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
)
