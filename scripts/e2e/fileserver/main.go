// Command fileserver serves a directory as Go's own file server does, which many programs are built on.
//
//	fileserver ADDRESS DIR
package main

import (
	"log"
	"net/http"
	"os"
)

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], http.FileServer(http.Dir(os.Args[2]))))
}
