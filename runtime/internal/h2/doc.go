// Package h2 carries links over HTTP/2.
package h2
