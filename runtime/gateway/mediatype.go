package gateway

import (
	"mime"
	"net/http"
	"slices"
	"strings"

	"connectrpc.com/connect/v2"
)

// mediaTypes are the protocols' request types, for unary functions and for streams.
var mediaTypes = func() (types [2][]string) {
	for _, codec := range []string{"json", "proto"} {
		types[0] = append(types[0], "application/"+codec)
		types[1] = append(types[1], "application/connect+"+codec)
	}
	for _, grpc := range []string{"application/grpc", webBinaryType} {
		for i := range types {
			types[i] = append(types[i], grpc, grpc+"+json", grpc+"+proto")
		}
	}
	return types
}()

func mediaTypesOf(kind connect.StreamType) []string {
	if kind == connect.StreamTypeUnary {
		return mediaTypes[0]
	}
	return mediaTypes[1]
}

// accepts reports whether requests of a content type can be for a function of the given kind.
func accepts(kind connect.StreamType, contentType string) bool {
	types := mediaTypesOf(kind)
	if slices.Contains(types, contentType) {
		return true
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	return err == nil && slices.Contains(types, mediaType)
}

// refuseMediaType answers with the content types that are accepted.
func refuseMediaType(w http.ResponseWriter, kind connect.StreamType) {
	types := strings.Join(mediaTypesOf(kind), ", ")
	w.Header().Set("Accept-Post", types)
	http.Error(w, "the request's Content-Type is none of those for a "+kind.String()+" function: use one of "+types, http.StatusUnsupportedMediaType)
}
