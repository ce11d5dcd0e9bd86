package registry

import (
	"encoding/json"
	"net/http"
)

// Error is an answer that is an error, in the words of the distribution-spec ("Error Codes").
type Error struct {
	Status  int
	Code    string
	Message string
	Image   string // the image that the policy denies; "" for other errors
	Rule    string // the rule that denies
	// Again tells that a snapshot that the server has not seen yet may have what is asked for.
	Again bool
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// ErrorBody is the JSON of an error. An empty code becomes the one of the status.
func ErrorBody(status int, code, message string) []byte {
	if code == "" {
		code = codeOf(status)
	}
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]entry{"errors": {{code, message}}})
	if err != nil {
		return []byte(`{"errors":[]}`) // impossible: two strings
	}
	return append(body, '\n')
}

// codeOf is the code for errors that are not the registry's own: of HTTP, or of what is behind the server.
func codeOf(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "UNAUTHORIZED"
	case http.StatusForbidden:
		return "DENIED"
	case http.StatusMethodNotAllowed:
		return "UNSUPPORTED"
	case http.StatusTooManyRequests:
		return "TOOMANYREQUESTS"
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return "UNAVAILABLE"
	}
	return "UNKNOWN"
}
