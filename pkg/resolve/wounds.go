package resolve

// wounds are what a host has that could be broken.
type wounds struct{}

// wound finds something that the choices have broken.
func (x *search) wound() (open, bool) { return open{}, false }
